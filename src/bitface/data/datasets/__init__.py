"""What a word for faces can mean: a file for each kind of data set, behind the registry in `data.sources`."""
