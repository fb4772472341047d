"""Right and wrong answers to the labs' exercises, as students give them."""
