/* shmcomm_completion.c - the verb completion: what shells and man want to
 * know about the other verbs, made from their table.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_cli.h"

#include <string.h>

static const struct option options[] = { CLI_OPTIONS };

/* >>bash */

static void
bash_verb(const cli_verb *v)
{
    static const char *const what[] = {
        [CLI_NOTHING] = "", [CLI_NAME] = "names", [CLI_TOPIC] = "names",
        [CLI_FILE] = "files", [CLI_WORD] = "words"
    };

    printf("        %s)\n            options=\"", v->name);
    for (const struct option *o = v->options; o->name != NULL; o++)
        printf("%s--%s", o == v->options ? "" : " ", o->name);
    printf("\"\n            what=%s\n", what[v->argument]);
    if (v->argument == CLI_WORD) printf("            words=\"%s\"\n", v->words);
    puts("            ;;");
}

static void
bash(void)
{
    puts("# bash completion for shmcomm; made by `shmcomm completion bash`.\n"
         "# shellcheck shell=bash disable=SC2207\n"
         "_shmcomm() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]}\n"
         "    local verb='' options='--dir --help --json --prefix --version'\n"
         "    local what='' words='' i\n"
         "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "        case ${COMP_WORDS[i]} in\n"
         "            --dir | --prefix) i=$((i + 1)) ;;\n"
         "            -*) ;;\n"
         "            *) verb=${COMP_WORDS[i]}; break ;;\n"
         "        esac\n"
         "    done\n"
         "    case $verb in");
    printf("        '')\n            what=words\n            words=\"");
    for (size_t i = 0; i < cli_verb_count; i++) printf("%s ", cli_verbs[i]->name);
    puts("help\"\n            ;;");
    for (size_t i = 0; i < cli_verb_count; i++) bash_verb(cli_verbs[i]);
    puts("    esac\n"
         "    case $last in\n"
         "        --file | --output | --dir | --root) what=files ;;\n"
         "    esac\n"
         "    case $word,$what in\n"
         "        -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "        *,words) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
         "        *,files) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
         "        *,names) COMPREPLY=($(compgen -W \\\n"
         "            \"$(shmcomm ls 2>/dev/null | sed '1d; s/ .*//')\" -- \"$word\")) "
         ";;\n"
         "        *) COMPREPLY=() ;;\n"
         "    esac\n"
         "}\n"
         "complete -F _shmcomm shmcomm");
}

/* >>zsh */

static void
zsh_verb(const cli_verb *v)
{
    printf("        %s)\n            _arguments \\\n", v->name);
    for (const struct option *o = v->options; o->name != NULL; o++)
        printf("                '--%s%s' \\\n", o->name,
               o->has_arg == no_argument ? "" : "=:value:_files");
    switch (v->argument) {
    case CLI_NAME: case CLI_TOPIC:
        puts("                '*:name:_shmcomm_names'"); break;
    case CLI_FILE: puts("                '*:file:_files'"); break;
    case CLI_WORD: printf("                ':word:(%s)'\n", v->words); break;
    default:       puts("                ':'"); break;
    }
    puts("            ;;");
}

static void
zsh(void)
{
    puts("#compdef shmcomm\n"
         "# zsh completion for shmcomm; made by `shmcomm completion zsh`.\n"
         "_shmcomm_names() {\n"
         "    local -a names\n"
         "    names=(${(f)\"$(shmcomm ls 2>/dev/null | sed '1d; s/ .*//')\"})\n"
         "    compadd -a names\n"
         "}\n"
         "_shmcomm() {\n"
         "    if ((CURRENT == 2)); then\n"
         "        local -a verbs\n"
         "        verbs=(");
    for (size_t i = 0; i < cli_verb_count; i++)
        printf("            \"%s:%s\"\n", cli_verbs[i]->name,
               cli_verbs[i]->summary);
    puts("        )\n"
         "        _describe verb verbs\n"
         "        return\n"
         "    fi\n"
         "    local verb=$words[2]\n"
         "    shift words\n"
         "    ((CURRENT--))\n"
         "    case $verb in");
    for (size_t i = 0; i < cli_verb_count; i++) zsh_verb(cli_verbs[i]);
    puts("    esac\n"
         "}\n"
         "_shmcomm \"$@\"");
}

/* >>man */

/* A line of text as it is, whatever roff would see in it.                 */
static void
man_text(const char *text)
{
    bool begins = true;

    for (; *text != '\0'; text++) {
        if (begins && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
        begins = *text == '\n';
        if (*text == '\\') fputs("\\e", stdout);
        else if (*text == '-') fputs("\\-", stdout);
        else if (*text == '\'') fputs("\\(aq", stdout);
        else putchar(*text);
    }
}

static void
man(void)
{
    puts(".\\\" Made by `shmcomm completion man`.\n"
         ".TH SHMCOMM 1 \"\" \"shmcomm " SHMC_VERSION_STRING "\" \"User Commands\"\n"
         ".SH NAME\n"
         "shmcomm \\- look at shared\\-memory segments and topics, and use them\n"
         ".SH SYNOPSIS\n"
         ".B shmcomm\n"
         ".I VERB\n"
         ".RI [ OPTION ...]\n"
         ".RI [ ARGUMENT ...]\n"
         ".SH DESCRIPTION\n"
         "Shared memory of the shmcomm headers, seen and used from a shell.\n"
         "There is no daemon; each call looks for itself.");
    for (size_t i = 0; i < cli_verb_count; i++) {
        fputs(".SS ", stdout);
        man_text(cli_verbs[i]->name);
        puts("\n.nf");
        man_text(cli_verbs[i]->help);
        puts(".fi");
    }
    puts(".SH OPTIONS OF EVERY VERB\n"
         ".TP\n.B \\-\\-help\nTell about the verb.\n"
         ".TP\n.B \\-\\-json\nWrite JSON.\n"
         ".TP\n.BI \\-\\-dir \" DIR\"\nWhere the segments are.\n"
         ".TP\n.BI \\-\\-prefix \" PREFIX\"\nWhat their files begin with.\n"
         ".PP\n.B \"shmcomm \\-\\-version\"\ntells the version.\n"
         ".SH EXIT STATUS\n"
         "0; 1 where something failed, with a sentence on standard error; 2\n"
         "where the arguments are wrong.\n"
         ".SH ENVIRONMENT\n"
         ".TP\n.B SHMCOMM_DIR\nWhere the segments are, else /dev/shm.\n"
         ".TP\n.B SHMCOMM_PREFIX\nWhat their files begin with, else shmc.");
}

static int
completion_run(cli *c, int argc, char **argv)
{
    while (cli_next(c, argc, argv, options) >= 0) { }
    const char *which = cli_argument(c, argc, argv, "bash, zsh or man");
    if (strcmp(which, "bash") == 0) bash();
    else if (strcmp(which, "zsh") == 0) zsh();
    else if (strcmp(which, "man") == 0) man();
    else cli_usage(c, "'%s' is not bash, zsh or man", which);
    return 0;
}

const cli_verb verb_completion = {
    "completion", "print what a shell needs to complete, or the man page",
    "usage: shmcomm completion bash | zsh | man\n"
    "\n"
    "Prints a completion script, or the manual page, made from the very table\n"
    "that the program works with.  tools/install installs all three.\n",
    completion_run, options, CLI_WORD, "bash zsh man"
};
