//! Manual pages: the grammar's options in between, sections around them.
//!
//! The words behind a subcommand's options are prose, and blocks of two spaces are examples.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use fanwheel::cli::manual::{ManualSection, sections_of};

/// Returns the page of a command, which is built and knows its whole name.
pub fn manual_page(command: &Command) -> io::Result<Vec<u8>> {
    let source = format!("fanwheel {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("fanwheel");
    let words = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (examples, prose): (Vec<&str>, Vec<&str>) =
        words.split("\n\n").filter(|part| !part.trim().is_empty()).partition(|part| part.starts_with("  "));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    let usage = command.clone().render_usage().to_string();
    roff.text([bold(usage.trim_start_matches("Usage: "))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(format!("{}.", command.get_about().map(ToString::to_string).unwrap_or_default()))]);
    for part in prose {
        roff.control("PP", []);
        roff.text([roman(part)]);
    }
    roff.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    write_examples(&mut roff, &examples);
    let name = if command.has_subcommands() { "" } else { command.get_name() };
    sections_of(name).iter().for_each(|section| write_section(&mut roff, section));
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn write_examples(roff: &mut Roff, examples: &[&str]) {
    roff.control("SH", ["EXAMPLES"]);
    for block in examples {
        roff.control("PP", []);
        roff.control("EX", []);
        for line in block.lines() {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("EE", []);
    }
}

fn write_section(roff: &mut Roff, section: &ManualSection) {
    roff.control("SH", [section.title]);
    if section.rows.iter().all(|row| row.meaning.is_empty()) {
        let names: Vec<&str> = section.rows.iter().map(|row| row.term).collect();
        roff.text([roman(names.join(", "))]);
        return;
    }
    for row in &section.rows {
        roff.control("TP", []);
        roff.text([bold(row.term)]);
        roff.text([roman(row.meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_the_sections_that_people_look_for() {
        let mut grammar = fanwheel::cli::args::command().disable_help_subcommand(true);
        grammar.build();
        for command in std::iter::once(&grammar).chain(grammar.get_subcommands()) {
            let page = String::from_utf8(manual_page(command).expect("memory takes it")).expect("text");
            // A troff for a terminal without UTF-8 shows nothing in the place of another character.
            let foreign: String = page.chars().filter(|character| !character.is_ascii()).collect();
            assert_eq!(foreign, "", "{}", command.get_name());
            let sections =
                ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"];
            let mut rest = page.as_str();
            for section in sections {
                let heading = [format!("\n.SH {section}\n"), format!("\n.SH \"{section}\"\n")];
                let at = heading.iter().find_map(|heading| rest.find(heading.as_str()));
                rest = &rest[at.unwrap_or_else(|| panic!("{section} of {}", command.get_name()))..];
            }
            let examples = page.split(".SH EXAMPLES").nth(1).expect("checked");
            assert!(examples.contains("\nfanwheel "), "{} has no example", command.get_name());
        }
    }
}
