#compdef package nodepkg
# Completion of nodepkg for zsh; `package completion:install zsh` writes this file. It can be sourced, and it can lie
# in a folder of fpath.

_package() {
    local program=${(Q)words[1]}
    local -a typed answers
    program=${program/#\~\//$HOME/}
    typed=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" "${(@Q)words[CURRENT+1,-1]}")
    answers=("${(@f)$(_PACKAGE_COMPLETE=zsh command $program $((CURRENT - 2)) "${typed[@]}" 2>/dev/null </dev/null)}")
    if [[ $answers[1] == '<files>' ]]; then
        compset -P '--*='
        _files
    elif [[ -n $answers[1] ]]; then
        _describe -t package package answers
    else
        return 1
    fi
}

if [[ ${funcstack[1]-} == _package ]]; then
    _package "$@" # compinit loads a function when it is called first
else
    () {
        emulate -L zsh # whatever .zshrc has set: with ksh_arrays $fpath would be its first folder alone
        fpath=("${1:A:h}" $fpath) # for a compinit that comes later
        (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
        compdef _package package nodepkg
    } "${(%):-%x}"
fi
