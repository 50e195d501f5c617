//! `tallyd today`: one line for a prompt or a status bar.

use std::process::ExitCode;

use clap::Args;
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde_json::{Value, json};
use store::{Block, Figures, Filter, ReadError, Reader};

use super::report::{Freshness, Of, blocks, figure_columns, object};
use crate::budgets::{self, Standing};
use crate::clock::now_ms;
use crate::config::Config;
use crate::output::{self, WrongUsage};
use crate::text;

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// What the line looks like: text with {cost}, {calls}, {tokens} and others, as listed below
    #[arg(long, value_name = "TEXT")]
    format: Option<String>,
    #[command(flatten)]
    of: Of,
    /// Print JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// What can stand in a format, and what it is.
const PLACEHOLDERS: [(&str, &str); 18] = [
    ("cost", "what today cost: $4.21; ≥ $4.21 if some calls have no known price"),
    ("calls", "calls of today"),
    ("tokens", "all tokens of today: 1.23M"),
    ("input", "uncached input"),
    ("output", "output"),
    ("cache_write", "written to caches"),
    ("cache_read", "read from caches"),
    ("day", "today: 2026-05-31"),
    ("week_cost", "cost of the last seven days"),
    ("month_cost", "cost of this month"),
    ("block_cost", "cost of the running five-hour block"),
    ("block_tokens", "its tokens"),
    ("block_left", "how long it still runs: 2 h 3 min"),
    ("block_rate", "its cost in an hour, at the rate so far"),
    ("budget", "the budget of which most is used"),
    ("budget_used", "how much of it is used: 62 %"),
    ("budget_name", "its period, agent and project"),
    ("age", "how old the figures are, or that not all is read yet; nothing if they are of now"),
];

/// The end of `tallyd today --help`.
pub(crate) fn help() -> String {
    let line = |(name, what): &(&str, &str)| format!("\n  {:<15} {what}", format!("{{{name}}}"));
    let list: String = PLACEHOLDERS.iter().map(line).collect();
    format!("In --format:{list}\n\n`-` stands for what there is none of; {{{{ and }}}} for braces.")
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let parts = arguments.format.as_deref().map(parse).transpose()?;
    let reader = Reader::open(&config.data_dir)?;
    let now_ms = now_ms();
    let now = Now {
        config,
        reader: &reader,
        of: arguments.of.filter()?,
        today: reader.day(now_ms)?,
        now_ms,
    };
    if arguments.json {
        output::print_json(&now.as_json()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let line = match parts {
        Some(parts) => parts.iter().map(|part| now.part(part)).collect::<Result<String, _>>()?,
        None => now.line()?,
    };
    output::print(&(line + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// A piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(&'static str),
}

fn parse(format: &str) -> Result<Vec<Part>, WrongUsage> {
    let mut parts = vec![Part::Text(String::new())];
    let text = |parts: &mut Vec<Part>, c: char| match parts.last_mut() {
        Some(Part::Text(text)) => text.push(c),
        _ => parts.push(Part::Text(c.into())),
    };
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.next_if_eq(&c).is_some() => text(&mut parts, c),
            '{' => {
                let mut name = String::new();
                let mut is_closed = false;
                for c in rest.by_ref() {
                    is_closed = c == '}';
                    if is_closed {
                        break;
                    }
                    name.push(c);
                }
                let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
                if !is_closed {
                    let text = format!("the brace of `{{{name}` is not closed; {{{{ is a brace");
                    return Err(WrongUsage(text));
                }
                let (known, _) = known.ok_or_else(|| unknown(&name))?;
                parts.push(Part::Place(known));
            }
            c => text(&mut parts, c),
        }
    }
    Ok(parts)
}

fn unknown(name: &str) -> WrongUsage {
    let names: Vec<String> = PLACEHOLDERS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    WrongUsage(format!(
        "{{{name}}} is nothing that --format knows\nhint: it knows {}; {{{{ is a brace",
        names.join(" ")
    ))
}

/// What is asked for is looked up when it is needed: a prompt waits for it.
struct Now<'a> {
    config: &'a Config,
    reader: &'a Reader,
    of: Filter,
    today: Date,
    now_ms: i64,
}

impl Now<'_> {
    fn part(&self, part: &Part) -> Result<String, ReadError> {
        let place = match part {
            Part::Text(text) => return Ok(text.clone()),
            Part::Place(place) => *place,
        };
        let day = || self.since(self.today);
        let block = |of: fn(&Self, &Block) -> String| {
            Ok(self.block()?.map_or_else(|| "-".to_owned(), |block| of(self, &block)))
        };
        let budget = |of: fn(&Standing) -> String| {
            Ok(self.budget()?.map_or_else(|| "-".to_owned(), |standing| of(&standing)))
        };
        Ok(match place {
            "cost" => cost(&day()?),
            "calls" => text::count(day()?.message_count),
            "tokens" => text::short_count(day()?.tokens()),
            "input" => text::short_count(day()?.input_tokens),
            "output" => text::short_count(day()?.output_tokens),
            "cache_write" => text::short_count(day()?.cache_create_tokens),
            "cache_read" => text::short_count(day()?.cache_read_tokens),
            "day" => self.today.to_string(),
            "week_cost" => cost(&self.since(self.today.saturating_sub(6.days()))?),
            "month_cost" => cost(&self.since(self.today.first_of_month())?),
            "block_cost" => return block(|_, block| cost(&block.figures)),
            "block_tokens" => return block(|_, block| text::short_count(block.figures.tokens())),
            "block_left" => return block(|now, block| blocks::left(block, now.now_ms)),
            "block_rate" => {
                return block(|now, block| {
                    let rate = block.burn(now.now_ms).map(|burn| burn.cost_nanousd_per_hour);
                    let in_words = |rate| blocks::at_least(&block.figures, blocks::whole(rate));
                    rate.map_or_else(|| "-".to_owned(), in_words)
                });
            }
            "age" => self.age()?.unwrap_or_default(),
            "budget" => return budget(|standing| text::money(standing.budget_nanousd)),
            "budget_used" => return budget(Standing::used),
            _ => return budget(|standing| text::plain(&standing.short_name())),
        })
    }

    /// `$4.21 today, 87 calls, 1.23M tokens; block $1.10, 2 h 3 min left; month 62 % of $200.00`.
    fn line(&self) -> Result<String, ReadError> {
        let day = self.since(self.today)?;
        let (calls, tokens) =
            (text::counted(day.message_count, "call"), text::short_count(day.tokens()));
        let mut line = format!("{} today, {calls}, {tokens} tokens", cost(&day));
        if let Some(block) = self.block()? {
            let left = blocks::left(&block, self.now_ms);
            line += &format!("; block {}, {left} left", cost(&block.figures));
        }
        if let Some(standing) = self.budget()? {
            let (used, of) = (standing.used(), text::money(standing.budget_nanousd));
            line += &format!("; {} {used} of {of}", text::plain(&standing.short_name()));
        }
        if let Some(age) = self.age()? {
            line += &format!("; {age}");
        }
        Ok(line)
    }

    fn as_json(&self) -> Result<Value, ReadError> {
        let since = |day: Date| self.since(day).map(|figures| object(figure_columns(&figures)));
        let block = self.block()?.map(|block| object(blocks::columns(&block, self.now_ms)));
        let freshness = Freshness::of(self.config, self.reader)?;
        let mut document = object(freshness.columns());
        let figures = json!({
            "day": self.today.to_string(),
            "time_zone": self.reader.time_zone()?,
            "today": since(self.today)?,
            "last_7_days": since(self.today.saturating_sub(6.days()))?,
            "month": since(self.today.first_of_month())?,
            "block": block,
            "budgets": budgets::standings(&self.config.budgets, self.reader, self.now_ms)?,
        });
        document.extend(figures.as_object().cloned().unwrap_or_default());
        Ok(document.into())
    }

    fn since(&self, day: Date) -> Result<Figures, ReadError> {
        let filter = Filter { since: Some(day), until: Some(self.today), ..self.of.clone() };
        self.reader.figures(&filter)
    }

    fn block(&self) -> Result<Option<Block>, ReadError> {
        blocks::running(self.reader, &self.of, self.now_ms)
    }

    fn age(&self) -> Result<Option<String>, ReadError> {
        Ok(Freshness::of(self.config, self.reader)?.in_short(self.now_ms))
    }

    /// That of which most is used.
    fn budget(&self) -> Result<Option<Standing>, ReadError> {
        let all = budgets::standings(&self.config.budgets, self.reader, self.now_ms)?;
        Ok(all.into_iter().max_by(|a, b| a.used_share.total_cmp(&b.used_share)))
    }
}

fn cost(figures: &Figures) -> String {
    text::short_cost(figures.cost_nanousd, figures.message_count, figures.unpriced_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_text_and_places() {
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(parse("").unwrap(), [text("")]);
        assert_eq!(
            parse("a {cost}, {calls}{{}} }").unwrap(),
            [text("a "), Part::Place("cost"), text(", "), Part::Place("calls"), text("{} }")]
        );
        for wrong in ["{}", "{Cost}", "{cost }", "{a}{"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains("{month_cost}"), "{wrong}: {error}");
        }
        for wrong in ["{", "{cost", "{cost}{"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains("is not closed"), "{wrong}: {error}");
        }
    }

    #[test]
    fn help_lists_every_place() {
        let help = help();
        for (name, what) in PLACEHOLDERS {
            assert!(help.contains(&format!("{{{name}}} ")) && help.contains(what), "{help}");
        }
    }
}
