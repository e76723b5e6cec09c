//! Completion for bash: words where words are known, files where a file is meant, else nothing.
//!
//! The generator of the command line's library offers files for every value, and placeholders as words.

use std::fmt::Write;

use clap::{Arg, Command, ValueHint};

/// The script around the tables of subcommands.
const HEAD: &str = r#"# bash completion for fanwheel
_fanwheel() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= flags= words= files=
    # --flag=value comes as three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    COMPREPLY=()
    [[ $COMP_CWORD -gt 1 ]] && command=${COMP_WORDS[1]}
    case $command in
"#;
const TAIL: &str = r#"    esac
    if [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        local IFS=$'\n'
        COMPREPLY=( $(compgen -f -- "$cur") )
    elif [[ -n $words ]]; then
        COMPREPLY=( $(compgen -W "$words" -- "$cur") )
    elif [[ -n $flags ]]; then
        COMPREPLY=( $(compgen -W "$flags" -- "$cur") )
    fi
}
complete -F _fanwheel fanwheel
"#;

/// Returns the script for a grammar that is built.
pub fn bash_completion(grammar: &Command) -> String {
    let mut script = HEAD.to_owned();
    for command in grammar.get_subcommands() {
        write_subcommand(&mut script, command).expect("writing to a String cannot fail");
    }
    let names: Vec<&str> = grammar.get_subcommands().map(Command::get_name).collect();
    let names = names.into_iter().map(str::to_owned);
    let flags = names.chain(flags_of(grammar)).collect::<Vec<_>>().join(" ");
    writeln!(script, "    '')\n        flags=\"{flags}\"\n        ;;")
        .expect("writing to a String cannot fail");
    script + TAIL
}

fn flags_of(command: &Command) -> impl Iterator<Item = String> {
    command.get_arguments().filter_map(Arg::get_long).map(|long| format!("--{long}"))
}

fn write_subcommand(script: &mut String, command: &Command) -> std::fmt::Result {
    writeln!(script, "    {})\n        case $prev in", command.get_name())?;
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for argument in command.get_arguments().filter(|argument| takes_value(argument)) {
        let words: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        match argument.get_value_hint() {
            _ if !words.is_empty() => {
                writeln!(script, "            {}) words=\"{}\" ;;", spellings(argument), words.join(" "))?;
            }
            ValueHint::FilePath | ValueHint::ExecutablePath => files.push(spellings(argument)),
            _ => others.push(spellings(argument)),
        }
    }
    if !files.is_empty() {
        writeln!(script, "            {}) files=1 ;;", files.join("|"))?;
    }
    if !others.is_empty() {
        writeln!(script, "            {}) ;;", others.join("|"))?;
    }
    let flags = format!("flags=\"{}\"", flags_of(command).collect::<Vec<_>>().join(" "));
    // A topic is for people to name; flags come when a dash is typed.
    let offer = match command.get_positionals().next() {
        Some(_) => format!("[[ $cur == -* ]] && {flags}"),
        None => flags,
    };
    writeln!(script, "            *) {offer} ;;\n        esac\n        ;;")
}

fn takes_value(argument: &Arg) -> bool {
    !argument.is_positional() && argument.get_action().takes_values()
}

/// Returns the pattern of a flag in its long form, and in its short one if it has that.
fn spellings(argument: &Arg) -> String {
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    long.into_iter().chain(short).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    /// What bash offers behind a line; its last word is the one that is being typed.
    fn offered(line: &[&str]) -> Vec<String> {
        let mut grammar = fanwheel::cli::args::command().disable_help_subcommand(true);
        grammar.build();
        let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "{}\ncd {}\nCOMP_WORDS=({}); COMP_CWORD={}\n_fanwheel\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            bash_completion(&grammar),
            env!("CARGO_MANIFEST_DIR"),
            words.join(" "),
            line.len() - 1
        );
        let output = Process::new("bash").arg("-c").arg(&script).output().expect("bash is here");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn words_where_words_are_known_files_where_a_file_is_meant_else_nothing() {
        let rows: &[(&[&str], &[&str])] = &[
            (&["fanwheel", "su"], &["subscribe"]),
            (&["fanwheel", "serve", "--slow-policy", ""], &["disconnect", "skip", "latest"]),
            (&["fanwheel", "serve", "--slow-policy", "=", "s"], &["skip"]),
            (&["fanwheel", "serve", "--slow-policy", "="], &["disconnect", "skip", "latest"]),
            (&["fanwheel", "serve", "--heartbeat"], &["--heartbeat-ms"]),
            (&["fanwheel", "serve", "--config", "Cargo.t"], &["Cargo.toml"]),
            (&["fanwheel", "config", "--log-file", "Cargo.t"], &["Cargo.toml"]),
            (&["fanwheel", "plan", "--constants", "Cargo.t"], &["Cargo.toml"]),
            (&["fanwheel", "serve", "--heartbeat-ms", ""], &[]),
            (&["fanwheel", "serve", "--listen", "Cargo.t"], &[]),
            (&["fanwheel", "publish", "Cargo.t"], &[]),
            (&["fanwheel", "publish", "news", ""], &[]),
            (&["fanwheel", "publish", "--ev"], &["--event"]),
            (&["fanwheel", "subscribe", "-H", "Cargo.t"], &[]),
            (&["fanwheel", "load", "--spread", ""], &["even", "zipf"]),
        ];
        for (line, expected) in rows {
            assert_eq!(offered(line), *expected, "{line:?}");
        }
        let flags = offered(&["fanwheel", "doctor", ""]);
        assert!(
            flags.contains(&"--connections".to_owned()) && flags.contains(&"--help".to_owned()),
            "{flags:?}"
        );
        let all = offered(&["fanwheel", ""]);
        assert!(all.contains(&"serve".to_owned()) && all.contains(&"--version".to_owned()), "{all:?}");
        assert!(!all.iter().any(|word| word.contains(['<', '['])), "{all:?}");
    }
}
