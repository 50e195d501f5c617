//! The text of the launchd agent: the template, filled in, and read back.

use std::collections::BTreeMap;

use super::facts::{Facts, not_text};
use super::files::OURS;
use super::refused;

const TEMPLATE: &str = include_str!("../../../../../systemd/dev.tallyd.plist");
const BINARY: &str = "/Users/NAME/.cargo/bin/tallyd";
const LOG: &str = "/Users/NAME/Library/Logs/tallyd.log";
const VARIABLES: &str = "  <key>EnvironmentVariables</key>";
const END: &str = "</dict>\n</plist>\n";

/// The agent that runs this binary with these variables.
pub(super) fn agent(facts: &Facts, log: &str) -> anyhow::Result<String> {
    let binary = facts.binary.to_str().ok_or_else(|| not_text(&facts.binary))?;
    let mut variables = String::new();
    for (name, value) in &facts.variables {
        let (name, value) = (escaped(name)?, escaped(value)?);
        variables.push_str(&format!("    <key>{name}</key><string>{value}</string>\n"));
    }
    if !variables.is_empty() {
        variables = format!("{VARIABLES}\n  <dict>\n{variables}  </dict>\n");
    }
    let text = TEMPLATE
        .lines()
        .map(|line| if line.starts_with("<!-- ") { comment() } else { line.to_owned() + "\n" })
        .collect::<String>();
    let text = text.replace(BINARY, &escaped(binary)?).replace(LOG, &escaped(log)?);
    let whole = text.strip_suffix(END).map(|text| format!("{text}{variables}{END}"));
    whole.ok_or_else(|| anyhow::anyhow!("the template of the launchd agent has another end"))
}

fn comment() -> String {
    format!("<!-- {OURS}, which overwrites it. -->\n")
}

fn escaped(text: &str) -> anyhow::Result<String> {
    if text.chars().any(char::is_control) {
        return Err(refused(
            format!("`{}` has control characters, which an agent cannot hold", text.escape_debug()),
            "set the variable to a folder without them, or unset it",
        ));
    }
    Ok(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// The variables that an agent of ours records.
pub(super) fn recorded(agent: &str) -> BTreeMap<String, String> {
    let (_, block) = agent.split_once(VARIABLES).unwrap_or_default();
    let (block, _) = block.split_once("</dict>").unwrap_or_default();
    let pairs = block.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("<key>")?.strip_suffix("</string>")?;
        let (name, value) = line.split_once("</key><string>")?;
        Some((plain(name), plain(value)))
    });
    pairs.collect()
}

fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, Flags};

    fn facts(binary: &str, variables: &[(&str, &str)]) -> Facts {
        let home = tempfile::tempdir().unwrap();
        let vars = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        let own = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Facts {
            config: Config::load(vars, &Flags::default()).unwrap(),
            binary: binary.into(),
            variables: own.collect(),
        }
    }

    #[derive(Debug, PartialEq)]
    enum Node {
        Text(String),
        Number(i64),
        Bool(bool),
        List(Vec<Node>),
        Dict(BTreeMap<String, Node>),
    }

    /// Reads the part of XML that property lists are made of, and takes nothing else.
    struct Reader<'a>(&'a str);

    impl<'a> Reader<'a> {
        fn take(&mut self, what: &str) -> bool {
            self.0 = self.0.trim_start();
            let after = self.0.strip_prefix(what);
            self.0 = after.unwrap_or(self.0);
            after.is_some()
        }

        fn until(&mut self, end: &str) -> &'a str {
            let (text, after) = self.0.split_once(end).unwrap();
            self.0 = after;
            text
        }

        fn text(&mut self, end: &str) -> String {
            let text = self.until(end);
            assert!(!text.contains(['<', '>']), "{text}");
            let entities = text.split('&').skip(1);
            for entity in entities {
                assert!(["amp;", "lt;", "gt;"].iter().any(|e| entity.starts_with(e)), "{text}");
            }
            plain(text)
        }

        fn node(&mut self) -> Node {
            if self.take("<string>") {
                Node::Text(self.text("</string>"))
            } else if self.take("<integer>") {
                Node::Number(self.until("</integer>").parse().unwrap())
            } else if self.take("<true/>") {
                Node::Bool(true)
            } else if self.take("<false/>") {
                Node::Bool(false)
            } else if self.take("<array>") {
                let mut list = Vec::new();
                while !self.take("</array>") {
                    list.push(self.node());
                }
                Node::List(list)
            } else {
                assert!(self.take("<dict>"), "{}", self.0);
                let mut dict = BTreeMap::new();
                while !self.take("</dict>") {
                    assert!(self.take("<key>"), "{}", self.0);
                    let key = self.text("</key>");
                    let node = self.node();
                    assert!(dict.insert(key, node).is_none(), "keys are there once");
                }
                Node::Dict(dict)
            }
        }
    }

    fn parse(text: &str) -> BTreeMap<String, Node> {
        let mut reader = Reader(text);
        for (begin, end) in [("<?xml", "?>"), ("<!DOCTYPE", ">"), ("<!--", "-->")] {
            assert!(reader.take(begin), "{}", reader.0);
            assert!(!reader.until(end).contains("--"));
        }
        assert!(reader.take("<plist version=\"1.0\">"));
        let Node::Dict(dict) = reader.node() else { panic!("no dictionary") };
        assert!(reader.take("</plist>") && reader.0.trim().is_empty(), "{}", reader.0);
        dict
    }

    #[test]
    fn an_agent_has_the_keys_of_the_template_and_what_is_recorded() {
        let binary = "/Users/ada/a & <b>/tallyd";
        let facts = facts(binary, &[("CODEX_HOME", "/w/a&b<c>"), ("CLAUDE_CONFIG_DIR", "/w")]);
        let text = agent(&facts, "/Users/ada/Library/Logs/tallyd.log").unwrap();
        let dict = parse(&text);
        let text_of = |text: &str| Node::Text(text.to_owned());
        assert_eq!(dict["Label"], text_of("dev.tallyd"));
        assert_eq!(dict["ProgramArguments"], Node::List(vec![text_of(binary), text_of("run")]));
        assert_eq!(dict["StandardErrorPath"], text_of("/Users/ada/Library/Logs/tallyd.log"));
        assert_eq!(dict["RunAtLoad"], Node::Bool(true));
        let keep = BTreeMap::from([("SuccessfulExit".to_owned(), Node::Bool(false))]);
        assert_eq!(dict["KeepAlive"], Node::Dict(keep));
        for (key, number) in
            [("ThrottleInterval", 10), ("ExitTimeOut", 20), ("Nice", 5), ("Umask", 63)]
        {
            assert_eq!(dict[key], Node::Number(number), "{key}");
        }
        let Node::Dict(variables) = &dict["EnvironmentVariables"] else { panic!("no variables") };
        assert_eq!(variables["CODEX_HOME"], text_of("/w/a&b<c>"));
        assert_eq!(recorded(&text), facts.variables);
        assert!(!text.contains("NAME<") && !text.contains("/Users/NAME"), "{text}");
        assert!(text.contains(OURS));
    }

    #[test]
    fn an_agent_without_variables_has_no_key_for_them() {
        let text = agent(&facts("/usr/local/bin/tallyd", &[]), "/l").unwrap();
        assert!(!parse(&text).contains_key("EnvironmentVariables"));
        assert_eq!(recorded(&text), BTreeMap::new());
        let bad = facts("/usr/local/bin/tallyd", &[("CODEX_HOME", "/a\nb")]);
        assert!(agent(&bad, "/l").unwrap_err().to_string().contains("control"));
    }
}
