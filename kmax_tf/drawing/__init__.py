"""Pictures of panoptic maps and cluster assignments."""
