# bash completion for shmcomm; made by `shmcomm completion bash`.
# shellcheck shell=bash disable=SC2207
_shmcomm() {
    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]}
    local verb='' options='--dir --help --json --prefix --version'
    local what='' words='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --dir | --prefix) i=$((i + 1)) ;;
            -*) ;;
            *) verb=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $verb in
        '')
            what=words
            words="ls info top lag stat echo pub hz push pull req rep record replay gc doctor bench completion help"
            ;;
        ls)
            options="--help --dir --prefix --json"
            what=
            ;;
        info)
            options="--help --dir --prefix --json"
            what=names
            ;;
        top)
            options="--interval --once --count --sort --help --dir --prefix --json"
            what=
            ;;
        lag)
            options="--object --help --dir --prefix --json"
            what=names
            ;;
        stat)
            options="--format --help --dir --prefix --json"
            what=
            ;;
        echo)
            options="--count --timeout --format --history --peek --length-delimited --help --dir --prefix --json"
            what=names
            ;;
        pub)
            options="--file --lines --length-delimited --rate --repeat --max-bytes --depth --reliable --wait-subscriber --help --dir --prefix --json"
            what=names
            ;;
        hz)
            options="--window --count --help --dir --prefix --json"
            what=names
            ;;
        push)
            options="--file --length-delimited --max-bytes --depth --round-robin --drain --help --dir --prefix --json"
            what=names
            ;;
        pull)
            options="--count --timeout --format --length-delimited --until-end --help --dir --prefix --json"
            what=names
            ;;
        req)
            options="--file --length-delimited --timeout --format --post --retries --need-server --help --dir --prefix --json"
            what=names
            ;;
        rep)
            options="--count --timeout --max-bytes --max-reply-bytes --help --dir --prefix --json"
            what=names
            ;;
        record)
            options="--output --all --duration --count --max-size --history --force --repair --help --dir --prefix --json"
            what=names
            ;;
        replay)
            options="--speed --start --end --loop --topic --list --wait-subscriber --help --dir --prefix --json"
            what=files
            ;;
        gc)
            options="--dry-run --topics --help --dir --prefix --json"
            what=
            ;;
        doctor)
            options="--strict --quiet --root --help --dir --prefix --json"
            what=
            ;;
        bench)
            options="--rounds --bytes --help --dir --prefix --json"
            what=
            ;;
        completion)
            options="--help --dir --prefix --json"
            what=words
            words="bash zsh man"
            ;;
    esac
    case $last in
        --file | --output | --dir | --root) what=files ;;
    esac
    case $word,$what in
        -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
        *,words) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
        *,files) COMPREPLY=($(compgen -f -- "$word")) ;;
        *,names) COMPREPLY=($(compgen -W \
            "$(shmcomm ls 2>/dev/null | sed '1d; s/ .*//')" -- "$word")) ;;
        *) COMPREPLY=() ;;
    esac
}
complete -F _shmcomm shmcomm
