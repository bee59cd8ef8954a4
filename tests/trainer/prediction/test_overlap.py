"""Reading, running and writing overlap, in order and with bounded memory."""

import threading

import pytest

from trainer.prediction.overlap import overlap


class Steps:
    """Counts what is in memory between the steps: read but not run, and run but not written."""

    def __init__(self, fail_to_read=(), fail_to_run=(), fail_to_write=(), written=None):
        self.fail = {"read": fail_to_read, "run": fail_to_run, "write": fail_to_write}
        self.read_ahead = self.most_read_ahead = self.unwritten = self.most_unwritten = 0
        self.lock, self.reported, self.threads = threading.Lock(), [], set()
        self.written = written or (lambda item: None)

    def read(self, item):
        if item in self.fail["read"]:
            raise KeyError(item)
        with self.lock:
            self.read_ahead += 1
            self.most_read_ahead = max(self.most_read_ahead, self.read_ahead)
        return item

    def run(self, item, content):
        assert content == item
        self.threads.add(threading.current_thread())
        if item in self.fail["run"]:
            raise KeyboardInterrupt
        with self.lock:
            self.read_ahead -= 1
            self.unwritten += 1
            self.most_unwritten = max(self.most_unwritten, self.unwritten)

        def write():
            self.written(item)
            if item in self.fail["write"]:
                raise OSError(item)
            with self.lock:
                self.unwritten -= 1
            return 10 * item

        return write

    def done(self, item, result):
        try:
            self.reported.append(result())
        except KeyError:
            self.reported.append("bad")

    def process(self, count, threads=2):
        overlap(range(count), self.read, self.run, self.done, KeyError, threads)


def test_results_come_in_order_and_bad_items_end_alone():
    # Item 0 is written last of the first ones.
    others = threading.Event()
    steps = Steps(fail_to_read=(3,), written=lambda item: others.wait(20) if item == 0 else item == 1 and others.set())
    steps.process(30)
    assert steps.reported == [10 * i if i != 3 else "bad" for i in range(30)]
    assert steps.threads == {threading.main_thread()}


def test_memory_is_bounded():
    steps = Steps()
    steps.process(100)
    assert steps.most_read_ahead <= 4 + 2 and steps.most_unwritten <= 4 + 2
    assert (steps.read_ahead, steps.unwritten) == (0, 0)


def test_what_the_model_has_finished_is_reported_when_it_is_interrupted():
    steps = Steps(fail_to_run=(5,))
    with pytest.raises(KeyboardInterrupt):
        steps.process(30)
    assert steps.reported == [0, 10, 20, 30, 40]


def test_unexpected_errors_end_the_loop():
    steps = Steps(fail_to_write=(2,))
    with pytest.raises(OSError, match="2"):
        steps.process(1000)
    assert steps.reported[:2] == [0, 10] and len(steps.reported) < 20
