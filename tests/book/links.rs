//! Every link leads to a page, a place or a file that is there.

use std::collections::BTreeSet;

use super::{Page, pages, top, without_blocks};

/// Where the links of a page lead to, as written.
fn links(page: &Page) -> Vec<String> {
    // What stands in backticks is no link.
    let prose: String = without_blocks(&page.text).split('`').step_by(2).collect();
    let ends = prose.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0);
    ends.filter(|to| !to.contains("://")).map(str::to_owned).collect()
}

/// The names of a page's headings, as links have them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = without_blocks(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let names = headings.map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    names
        .map(|name| name.to_lowercase().chars().filter(kept).collect::<String>())
        .map(|name| name.replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_leads_somewhere_and_none_out_of_the_book() {
    let mut followed = 0;
    for page in pages(".").iter().chain(&pages("docs")) {
        for link in links(page) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let here = top().join(&page.name);
            let to = match file {
                "" => here,
                file => here.parent().unwrap().join(file),
            };
            assert!(to.exists(), "{}: {link} leads nowhere", page.name);
            if page.name.starts_with("docs/") {
                // The book is docs/ alone: what is beside it is not there for its readers.
                assert!(!file.starts_with(".."), "{}: {link} leads out of the book", page.name);
            }
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(to).unwrap();
                let anchors = anchors(&text);
                assert!(anchors.contains(anchor), "{}: {link}: {anchors:?}", page.name);
            }
            followed += 1;
        }
    }
    assert!(followed > 60, "{followed} links");
}

#[test]
fn every_chapter_stands_in_the_summary_once() {
    let pages = pages("docs");
    let summary = pages.iter().find(|page| page.name == "docs/SUMMARY.md").unwrap();
    let mut listed = links(summary);
    listed.sort();
    let there: Vec<&str> = pages.iter().map(|page| page.name.trim_start_matches("docs/")).collect();
    let there: Vec<&str> = there.into_iter().filter(|name| *name != "SUMMARY.md").collect();
    assert_eq!(listed, there);
}
