# What can be said of the cookbook, by a role or a cookbook of your own. The file itself is written by nodepkg.

# Folder of the agent: its environment, the wheels, and bin/package.
default['nodepkg-services']['root'] = '/opt/nodepkg-agent'

# The Python (3.11 or newer, with venv) that the environment is made with; nil: the first that is found.
default['nodepkg-services']['python'] = nil

# What group:create writes and the bundle brings; nil: services.json in the bundle that is converged.
default['nodepkg-services']['services_json'] = nil

# More options of service:agent, each a word of its own.
default['nodepkg-services']['agent_options'] = []

# Whether the agent runs when the converge is over; nil: yes, but for image builds and where systemd does not run.
default['nodepkg-services']['start'] = nil

# How long the agent may take to say good-bye and to wait for those who need the node, in seconds.
default['nodepkg-services']['stop_timeout'] = 180

# How long service:collect and service:announce may take, in seconds.
default['nodepkg-services']['timeout'] = 60

# Whether a converge fails that knows nothing of any service, since nothing could be collected, now or before.
default['nodepkg-services']['required'] = false

# The cookbook whose delete-NAME recipes take services off; nil: as services.json says.
default['nodepkg-services']['cookbook'] = nil
