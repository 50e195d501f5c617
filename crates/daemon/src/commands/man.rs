//! `tallyd man`: the manual pages, made from the command line; `man.roff` is what it does not say.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::Cli;

/// Files, variables and exit codes.
const MORE: &str = include_str!("man.roff");

/// One page for `tallyd`, and one for each of its commands.
pub(super) fn run(folder: &Path) -> anyhow::Result<ExitCode> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    std::fs::create_dir_all(folder)
        .and_then(|()| write(&program, folder))
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn write(command: &Command, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or("tallyd");
    let mut page = Vec::new();
    // Without a date, as a build of today must not differ from one of tomorrow.
    let man = Man::new(command.clone()).title(name.to_uppercase()).date("\"\"");
    man.source(concat!("tallyd ", env!("CARGO_PKG_VERSION"))).manual("tallyd").render(&mut page)?;
    if name == "tallyd" {
        page.extend(MORE.as_bytes());
    }
    std::fs::write(folder.join(format!("{name}.1")), page)?;
    for below in command.get_subcommands() {
        write(below, folder)?;
    }
    Ok(())
}
