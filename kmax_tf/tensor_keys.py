"""Keys of the tensor dicts that model, input, losses and post-processing exchange. B: batch, N: slots, C: classes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # exported models also run without TensorFlow
    import tensorflow as tf

# Outputs of the model, and of each kMaX decoder layer.
CLASS_LOGITS = "transformer_class_logits"  # [B,N,C+1], ordered things, stuff, void
MASK_LOGITS = "pixel_space_mask_logits"  # [B,h,w,N]
PIXEL_FEATURES = "pixel_space_normalized_feature"  # [B,h,w,D]
# Output of each kMaX decoder layer with a branch of relaxation.masks.
RELAXATION_LOGITS = "relaxation_semantic_logits"  # [B,h,w,C], ordered things, stuff
# Outputs of the model only.
SEMANTIC_LOGITS = "semantic_logits"  # [B,hs,ws,class ids]
AUXILIARY_OUTPUTS = "auxiliary_outputs"  # a tuple of dicts, one for each kMaX decoder layer
# Beside panoptic maps, followed by the number of a kMaX decoder layer.
CLUSTERS = "decoder_"  # [B,h,w], the slot of each pixel in its k-means step
# Targets.
SEMANTIC_GT = "semantic_gt"  # [B,H,W], class ids
SEMANTIC_WEIGHT = "semantic_loss_weight"  # [B,H,W]
THING_MASK_GT = "thing_id_mask_gt"  # [B,H,W], index of the instance or -1
THING_CLASS_GT = "thing_id_class_gt"  # [B,T], class id of each instance

Outputs = dict[str, "tf.Tensor | tuple[dict[str, tf.Tensor], ...]"]
Targets = dict[str, "tf.Tensor"]
