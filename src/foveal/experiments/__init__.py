"""What is made of several trainings."""
