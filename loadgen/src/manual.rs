//! What packages ship besides the program, made from the command line itself: manual pages and completions.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::output::print;

pub fn completions(shell: Shell) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "msrpload", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// One page for the program and one for each subcommand.
pub fn write(folder: &Path) -> Result<(), String> {
    let wrong = |e: std::io::Error| format!("{}: {e}", folder.display());
    fs::create_dir_all(folder).map_err(wrong)?;
    let mut command = Cli::command();
    command.build();
    let page = |command: &clap::Command, name: &str| {
        let mut text = Vec::new();
        let man = Man::new(command.clone())
            .title(name)
            .section("1")
            .manual("msrpload");
        man.render(&mut text)?;
        fs::write(folder.join(format!("{name}.1")), text)
    };
    page(&command, "msrpload").map_err(wrong)?;
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        page(below, &format!("msrpload-{}", below.get_name())).map_err(wrong)?;
    }
    Ok(())
}
