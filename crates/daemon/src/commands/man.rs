//! `tallyd man`: the manual pages, made from the command line; `man.roff` is what it does not say.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::output;

/// Files, variables and exit codes.
const MORE: &str = include_str!("man.roff");

/// One page for `tallyd`, and one for each of its commands.
pub(super) fn run(folder: &Path) -> anyhow::Result<ExitCode> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let pages = std::fs::create_dir_all(folder)
        .and_then(|()| write(&program, folder))
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    output::print(&format!("{pages} manual pages written to {}\n", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command and of all below it; how many these are.
fn write(command: &Command, folder: &Path) -> io::Result<usize> {
    let name = command.get_display_name().unwrap_or("tallyd");
    let mut page = Vec::new();
    // Without a date, as a build of today must not differ from one of tomorrow.
    let man = Man::new(command.clone()).title(name.to_uppercase()).date("\"\"");
    man.source(concat!("tallyd ", env!("CARGO_PKG_VERSION"))).manual("tallyd").render(&mut page)?;
    let mut page = with_usage(&String::from_utf8_lossy(&page), command);
    if name == "tallyd" {
        page.push_str(MORE);
    }
    std::fs::write(folder.join(format!("{name}.1")), page)?;
    let mut pages = 1;
    for below in command.get_subcommands() {
        pages += write(below, folder)?;
    }
    Ok(pages)
}

/// The synopsis as `--help` has it: the one that is made lists all flags, without their values.
fn with_usage(page: &str, command: &Command) -> String {
    const BEGIN: &str = ".SH SYNOPSIS\n";
    const END: &str = ".SH DESCRIPTION\n";
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().replace('-', "\\-");
    let lines: Vec<&str> = usage.lines().map(str::trim).collect();
    let around = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    match around {
        Some((before, after)) => {
            format!("{before}{BEGIN}{}\n{END}{after}", lines.join("\n.br\n"))
        }
        None => page.to_owned(),
    }
}
