"""Local transfer learning: a pretrained model is trained on with a site's few examples."""
