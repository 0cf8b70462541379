# Completion of nodepkg for fish; `package completion:install fish` writes this file.

function __package_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -l program (string replace -r '^~/' $HOME/ -- $words[1])
    set -e words[1]
    set -lx _PACKAGE_COMPLETE fish
    set -l answers (command $program (count $words) $words "$token" 2>/dev/null </dev/null)
    if test "$answers" != '<files>'
        printf '%s\n' $answers
        return
    end
    # What fish offers to a command that it knows nothing of: files.
    set -l option (string match -r -- '^--[^=]*=' $token)
    set -l value (string replace -r -- '^--[^=]*=' '' $token)
    for file in (complete -C "__package_files $value")
        printf '%s\n' "$option$file"
    end
end

complete -c package -f -a '(__package_complete)'
