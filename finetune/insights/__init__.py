"""What a trained network says about the pictures: where it looked, which labels it doubts, which are alike."""
