"""Commands that say who somebody is: photographs and vectors in, people out."""
