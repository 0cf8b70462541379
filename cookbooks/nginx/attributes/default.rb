default["nginx"]["workers"] = 2
