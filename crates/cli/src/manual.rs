//! `heapfile completions` and `heapfile man`: what shells and `man` are told about the command, from its own definition.

use crate::{Cli, Outcome, output};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the completions of a shell to stdout
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  heapfile completions bash >~/.local/share/bash-completion/completions/heapfile\n  \
    heapfile completions zsh >~/.zfunc/_heapfile\n  \
    heapfile completions fish >~/.config/fish/completions/heapfile.fish"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut visible(), "heapfile", &mut text);
    let mut out = output::buffered();
    out.write_all(&text)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Write the manual page to stdout, or one for each command into a directory
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  heapfile man | man -l -\n  heapfile man ~/.local/share/man/man1 && man heapfile-kv-import"
)]
pub(crate) struct ManArgs {
    /// The directory, which must exist; pages of these names are written over
    dir: Option<PathBuf>,
}

pub(crate) fn man(args: &ManArgs) -> Outcome {
    match &args.dir {
        Some(dir) => clap_mangen::generate_to(visible(), dir)
            .map_err(|e| format!("cannot write pages to {}: {e}", dir.display()))?,
        None => {
            let mut out = output::buffered();
            clap_mangen::Man::new(visible()).render(&mut out)?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The command without what it runs for itself only.
fn visible() -> Command {
    let whole = Cli::command();
    let shown: Vec<Command> =
        whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let mut command = Command::new("heapfile").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = whole.get_about() {
        command = command.about(about.clone());
    }
    if let Some(after) = whole.get_after_help() {
        command = command.after_help(after.clone());
    }
    command.propagate_version(true).subcommands(shown)
}
