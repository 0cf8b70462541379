# What nodes.json says in default_attributes counts before this.
default["hello"]["greeting"] = "Hello"
