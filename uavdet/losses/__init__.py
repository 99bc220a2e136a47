"""Detection losses: the IoU family and the set criterion."""
