# Completion for bash. Names come from the mount, options from ipcctl's own help.

# What ipcctl lists, of all rooms or of those named; without names that have a newline in them.
_ipcctl_names() {
    local name
    while IFS= read -r -d '' name; do
        [[ $name == *$'\n'* ]] || printf '%s\n' "$name"
    done < <("${command[@]}" ls --null "$@" 2>/dev/null)
}

# As ipcctl's help lists them, of it or of the verb that has verbs.
_ipcctl_verbs() {
    "${command[@]}" help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)  *[A-Z].*/\1/p'
}

# Directories, where a path is typed: a name is one too.
_ipcctl_paths() {
    local path typed=${cur//\\/}
    typed=${typed#[\'\"]}
    [[ $typed == [./~]* || $typed == */*/* ]] || return
    compopt -o filenames
    while IFS= read -r path; do
        COMPREPLY+=("${path#"$before"}")
    done < <(compgen -d -- "$typed")
}

_ipcctl_options() { # VERB...
    printf '%s\n' --help
    "${command[@]}" help "$@" 2>/dev/null | grep -o -e ' --[a-z][a-z-]*' | tr -d ' '
}

# Offers the lines on stdin that begin with what was typed, quoted as that is, or else as the shell needs it. Of
# what it has cut up it expects the last piece.
_ipcctl_offer() {
    local line typed=${cur//\\/}
    typed=${typed#[\'\"]}
    while IFS= read -r line; do
        [[ $line == "$typed"* ]] || continue
        [[ $cur == [\'\"]* ]] || line=$(printf '%q' "$line")
        COMPREPLY+=("${line#"$before"}")
    done
}

# bash cuts words at : and = too. Sets words to what was typed, cur to the last of them, and before to the part of it
# that bash does not have completed.
_ipcctl_words() {
    local line=$COMP_LINE rest word
    words=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        rest=${line#"${line%%[![:space:]]*}"}
        if [[ $rest == "$line" && ${#words[@]} -gt 0 ]]; then
            before=${words[-1]}
            words[-1]+=$word
        else
            before=
            words+=("$word")
        fi
        line=${rest#"$word"}
    done
    cur=${words[-1]}
    [[ -z $before || $word != [:=]* ]] || before=$cur
}

# Those it has, or those it would have.
_ipcctl_settings() { # VERB NAME
    compopt -o nospace
    [[ $1 == new ]] || "${command[@]}" config "$2" 2>/dev/null | sed 's/=.*/=/'
    [[ $1 == new ]] || return
    case $2 in
    topic/*) printf '%s\n' history= message_bytes= bytes= ;;
    ring/*) printf '%s\n' slots= slot_bytes= producers= consumers= ;;
    *) printf '%s\n' messages= bytes= message_bytes= overflow= ttl= attempts= dead= durable= ;;
    esac
}

# By the arguments before this one, the verb first.
_ipcctl_argument() {
    case $* in
    '') _ipcctl_offer < <(_ipcctl_verbs; echo help) ;;
    ring | 'help ring') _ipcctl_offer < <(printf '%s\n' dump put get) ;;
    store | 'help store') _ipcctl_offer < <(printf '%s\n' check dump); _ipcctl_paths ;;
    ring' '*) _ipcctl_offer < <(_ipcctl_names ring/ | sed 's,^ring/,,'); _ipcctl_paths ;;
    help) _ipcctl_offer < <(_ipcctl_verbs) ;;
    ls* | rm* | send | recv) _ipcctl_offer < <(_ipcctl_names); _ipcctl_paths ;;
    config) _ipcctl_offer < <(_ipcctl_names mbox/ topic/ ring/ proc/); _ipcctl_paths ;;
    work | call) _ipcctl_offer < <(_ipcctl_names mbox/); _ipcctl_paths ;;
    pub | sub) _ipcctl_offer < <(_ipcctl_names topic/ | sed 's,^topic/,,'); _ipcctl_paths ;;
    new)
        compopt -o nospace
        _ipcctl_offer < <(printf '%s\n' topic/ ring/ shm/)
        ;;
    config' '* | new' '*) compopt -o nospace; _ipcctl_offer < <(_ipcctl_settings "$1" "$2") ;;
    esac
}

_ipcctl() {
    local words cur before previous command=(ipcctl) arguments=() i
    COMPREPLY=()
    _ipcctl_words
    previous=${words[-2]}
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
        -m | --mount) command+=(-m "${words[++i]/#~\//$HOME/}") ;;
        --mount=*) words[i]=${words[i]#*=}; command+=(-m "${words[i]/#~\//$HOME/}") ;;
        -[tpnsrdj] | --timeout | --prio | --count | --jobs | --size | --rounds | --delay | --mode | --file | --svg | --beside) ((++i)) ;;
        -f) [[ ${arguments[0]-} != @(send|call|pub) ]] || ((++i)) ;;
        -*) ;;
        *) arguments+=("${words[i]}") ;;
        esac
    done

    case $cur in
    --mount=* | --beside=*) mapfile -t COMPREPLY < <(compgen -d -- "${cur#*=}"); return ;;
    --file=* | --svg=*) mapfile -t COMPREPLY < <(compgen -f -- "${cur#*=}"); return ;;
    esac
    case $previous in
    -m | --mount | --beside) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --file | --svg) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    -f) [[ ${arguments[0]-} != @(send|call|pub) ]] || { mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return; } ;;
    -[tpnsrdj] | --timeout | --prio | --count | --jobs | --size | --rounds | --delay | --mode) return ;;
    esac
    if [[ $cur != -* ]]; then
        _ipcctl_argument "${arguments[@]}"
    elif ((${#arguments[@]} == 0)); then
        _ipcctl_offer < <(printf '%s\n' --mount --help --version)
    elif [[ ${arguments[0]} == ring ]]; then
        _ipcctl_offer < <(_ipcctl_options "${arguments[@]:0:2}" | sort -u)
    else
        _ipcctl_offer < <(_ipcctl_options "${arguments[0]}" | sort -u)
    fi
}

complete -F _ipcctl ipcctl
