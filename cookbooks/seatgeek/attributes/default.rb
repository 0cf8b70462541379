default["seatgeek"]["state"] = "/var/lib/seatgeek"
