# Completion of nodepkg for bash; `package completion:install bash` writes this file.
# It needs no other package, and nothing newer than bash 3.2.
# shellcheck shell=bash

_package() {
    local program=$1 replaced=$2 previous='' answer options=$- IFS=$'\n'
    COMPREPLY=()
    ((COMP_CWORD > 0)) && previous=${COMP_WORDS[COMP_CWORD - 1]}
    case $program in '~/'*) program=$HOME/${program#'~/'} ;; esac
    case $replaced in : | =) replaced='' ;; esac # what breaks words stays: sudo's completion passes it, bash does not
    case $previous in
        *'>' | *'<' | *'>&' | *'>|') answer='<files>' ;;
        *) answer=$(_PACKAGE_COMPLETE=bash command "$program" \
            "${COMP_LINE:0:COMP_POINT}" "${COMP_LINE:COMP_POINT}" "$replaced" 2>/dev/null </dev/null) || return 0 ;;
    esac
    set -f # the names that were answered are not patterns
    if [[ $answer != '<files>' ]]; then
        COMPREPLY=($answer)
    elif ! compopt -o bashdefault -o default 2>/dev/null; then
        COMPREPLY=($(compgen -f -- "$replaced")) # before bash 4
    fi
    [[ $options == *f* ]] || set +f
    return 0
}

complete -F _package package nodepkg
