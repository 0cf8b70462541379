// The rules of the merge: lists append, objects merge at level 1, of everything else the child's value counts.
local nodes = std.parseJson(std.extVar('nodes'));
local both(parent, child, kind) = std.type(parent) == kind && std.type(child) == kind;
local merge(parent, child) = parent {
  [key]:
    if std.objectHas(parent, key) && (both(parent[key], child[key], 'array') || both(parent[key], child[key], 'object'))
    then parent[key] + child[key]
    else child[key]
  for key in std.objectFields(child)
};
local role(name) =
  local entry = nodes[name];
  local group = std.foldl(merge, [nodes[layer] for layer in entry.inherits] + [entry], nodes.__base__);
  {
    name: 'role-' + name,
    chef_type: 'role',
    json_class: 'Chef::Role',
    description: group.description,
    override_attributes: group.override_attributes,
    default_attributes: group.default_attributes,
    run_list: group.run_list + group.post_run_list,
  };
{ [name]: std.manifestJsonEx(role(name), '    ') for name in std.objectFields(nodes) if !std.startsWith(name, '__') }
