//! The pages in docs/ and the README: what they say is so, and all that can be run is run.

mod commands;
mod links;
mod reference;

use std::path::PathBuf;

/// The top of the repository.
fn top() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A page by its path below the top, and its text.
struct Page {
    name: String,
    text: String,
}

/// All pages of a folder, by name.
fn pages(folder: &str) -> Vec<Page> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(top().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "md") {
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = if folder == "." { name.to_owned() } else { format!("{folder}/{name}") };
            pages.push(Page { name, text: std::fs::read_to_string(path).unwrap() });
        }
    }
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    pages
}

/// The fenced blocks of a page, each with its language.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("```") {
        let (language, after) = rest[at + 3..].split_once('\n').unwrap();
        let (block, after) = after.split_once("```").unwrap();
        blocks.push((language.trim(), block));
        rest = after;
    }
    blocks
}

/// A page without its fenced blocks.
fn without_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}
