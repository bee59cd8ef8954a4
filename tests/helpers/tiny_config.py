"""The config of a tiny model for drawn scenes; RECORDS is a placeholder for their folder."""

TINY = """
experiment_name: "tiny"
model_options {
  backbone { name: "kmax_convnext_atto" drop_path_keep_prob: 0.5 }
  decoder { decoder_channels: 8 aspp_channels: 8 }
  pixel_decoder { channels: [8, 8, 8, 8] num_blocks: [1, 1, 1, 1] }
  max_deeplab {
    pixel_space_head { head_channels: 16 output_channels: 16 }
    auxiliary_semantic_head { head_channels: 8 }
    auxiliary_low_level { feature_key: "res3" channels_project: 8 }
    auxiliary_low_level { feature_key: "res2" channels_project: 8 }
    num_mask_slots: 8
    num_decoders: [1, 0, 0]
    decoder_channels: 16
    ffn_channels: 16
    instance_discrimination_sample_k: 64
  }
}
trainer_options {
  seed: 3
  save_checkpoints_steps: 100
  save_summaries_steps: 2
  steps_per_loop: 2
  loss_options {
    semantic_loss { weight: 1.0 }
    pq_style_loss { weight: 3.0 }
    mask_id_cross_entropy_loss { weight: 0.3 }
    instance_discrimination_loss { weight: 1.0 }
  }
  solver_options {
    optimizer: "adamw"
    adamw_weight_decay: 0.05
    base_learning_rate: 0.002
    backbone_learning_rate_multiplier: 0.1
    training_number_of_steps: 8
    warmup_steps: 2
  }
}
train_dataset_options {
  dataset: "scenes_panoptic"
  file_pattern: "RECORDS/train-*.tfrecord"
  batch_size: 2
  crop_size: [65, 65]
  max_thing_id: 16
  augmentations { min_scale_factor: 0.8 max_scale_factor: 1.2 scale_factor_step_size: 0.1 }
}
eval_dataset_options {
  dataset: "scenes_panoptic"
  file_pattern: "RECORDS/val-*.tfrecord"
  batch_size: 2
  crop_size: [97, 97]
  max_thing_id: 16
}
evaluator_options {
  eval_interval: 4
  transformer_post_processing: "maskwise"
  maskwise_postprocessing {
    transformer_class_confidence_threshold_thing: 0.0
    transformer_class_confidence_threshold_stuff: 0.0
  }
  pixel_confidence_threshold: 0.1
}
"""
