"""What is done to an image and its objects before the network gets them."""
