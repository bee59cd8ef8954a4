"""A lock with which several threads call graphs of TensorFlow, one at a time.

TensorFlow's memory optimizer keeps sums of large tensors in temporary variables, named after nodes of the graph. Two calls
at once, of one graph or of graphs whose nodes have the same names, then end with an AlreadyExistsError. One call uses all
cores anyway.
"""

import threading

ONE_CALL = threading.Lock()
