"""Methods and problems by name, their options, and the runs made of them."""
