//! What is told apart and summed up, by the names it has in commands, JSON, CSV and over HTTP.

use clap::ValueEnum;
use serde_json::{Map, Value};
use store::{Dimension, Figures, ReportRow, SortBy};

use super::layout::utc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    Day,
    Week,
    Month,
    Session,
    Project,
    Provider,
    Model,
    Speed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By day or name
    Name,
    Calls,
    Input,
    Output,
    CacheWrite,
    CacheRead,
    Tokens,
    Cost,
    /// By the time of a session's last event
    Last,
}

impl By {
    pub(super) fn dimension(self) -> Dimension {
        match self {
            Self::Day => Dimension::Day,
            Self::Week => Dimension::Week,
            Self::Month => Dimension::Month,
            Self::Session => Dimension::Session,
            Self::Project => Dimension::Project,
            Self::Provider => Dimension::Provider,
            Self::Model => Dimension::Model,
            Self::Speed => Dimension::Speed,
        }
    }
}

impl Sort {
    pub(super) fn sort_by(self) -> SortBy {
        match self {
            Self::Name => SortBy::Key,
            Self::Calls => SortBy::Calls,
            Self::Input => SortBy::Input,
            Self::Output => SortBy::Output,
            Self::CacheWrite => SortBy::CacheCreate,
            Self::CacheRead => SortBy::CacheRead,
            Self::Tokens => SortBy::Tokens,
            Self::Cost => SortBy::Cost,
            Self::Last => SortBy::Last,
        }
    }

    /// The columns that give this order to rows of these dimensions.
    fn columns(self, by: &[Dimension]) -> Vec<&'static str> {
        match self {
            Self::Name => by.first().map(|first| name_of(*first)).into_iter().collect(),
            Self::Calls => vec!["message_count"],
            Self::Input => vec!["input_tokens"],
            Self::Output => vec!["output_tokens"],
            Self::CacheWrite => vec!["cache_create_tokens"],
            Self::CacheRead => vec!["cache_read_tokens"],
            Self::Tokens => vec!["total_tokens"],
            Self::Cost => vec!["cost_nanousd", "cost_usd"],
            Self::Last if by == [Dimension::Session] => vec!["last_ts"],
            Self::Last => vec![],
        }
    }
}

/// What rows can be told apart by, and by which name that is asked for.
pub(crate) fn dimensions() -> impl Iterator<Item = (String, Dimension)> {
    let named = |by: &By| {
        let name = by.to_possible_value()?.get_name().to_owned();
        Some((name, by.dimension()))
    };
    By::value_variants().iter().filter_map(named)
}

/// The columns that rows of these dimensions can be sorted by, with the order that each gives.
pub(crate) fn sortable(by: &[Dimension]) -> Vec<(&'static str, SortBy)> {
    let of = |sort: &Sort| {
        let by_it = sort.sort_by();
        sort.columns(by).into_iter().map(move |name| (name, by_it))
    };
    Sort::value_variants().iter().flat_map(of).collect()
}

/// The names of a row's columns.
pub(crate) fn names(by: &[Dimension]) -> impl Iterator<Item = &'static str> {
    let nothing = ReportRow {
        key: vec![String::new(); by.len()],
        project_name: None,
        session: None,
        figures: Figures::default(),
    };
    row_columns(by, &nothing).into_iter().map(|(name, _)| name)
}

/// What a row is of, and its figures.
pub(crate) fn row_columns(by: &[Dimension], row: &ReportRow) -> Vec<(&'static str, Value)> {
    let mut columns = key_columns(by, row);
    columns.extend(figure_columns(&row.figures));
    columns
}

/// What stands in JSON, CSV and headings.
pub(super) fn name_of(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Day => "day",
        Dimension::Week => "week",
        Dimension::Month => "month",
        Dimension::Provider => "provider",
        Dimension::Project => "project",
        Dimension::Model => "model",
        Dimension::Speed => "speed",
        Dimension::Session => "session_id",
    }
}

fn key_columns(by: &[Dimension], row: &ReportRow) -> Vec<(&'static str, Value)> {
    let mut columns = Vec::new();
    for (dimension, part) in by.iter().zip(&row.key) {
        match dimension {
            Dimension::Project => {
                columns.push(("project", part.clone().into()));
                columns.push(("project_name", row.project_name.clone().into()));
            }
            Dimension::Session => {
                let session = row.session.as_ref();
                let time = |ts_ms: i64| Value::from(utc(ts_ms));
                let own_project = !by.contains(&Dimension::Project);
                columns.push(("session_id", part.clone().into()));
                if !by.contains(&Dimension::Provider) {
                    columns.push(("provider", session.map(|of| of.provider.clone()).into()));
                }
                if own_project {
                    columns.push(("project", session.and_then(|of| of.project.clone()).into()));
                }
                let model = session.and_then(|of| of.primary_model.clone());
                columns.push(("primary_model", model.into()));
                columns.push(("first_ts", session.map(|of| time(of.first_ts_ms)).into()));
                columns.push(("last_ts", session.map(|of| time(of.last_ts_ms)).into()));
            }
            _ => columns.push((name_of(*dimension), part.clone().into())),
        }
    }
    columns
}

/// Figures by the names of the marts' columns.
pub(crate) fn figure_columns(figures: &Figures) -> Vec<(&'static str, Value)> {
    vec![
        ("message_count", figures.message_count.into()),
        ("input_tokens", figures.input_tokens.into()),
        ("output_tokens", figures.output_tokens.into()),
        ("cache_create_tokens", figures.cache_create_tokens.into()),
        ("cache_read_tokens", figures.cache_read_tokens.into()),
        ("total_tokens", figures.tokens().into()),
        ("cost_nanousd", figures.cost_nanousd.into()),
        ("cost_usd", figures.cost_usd().into()),
        ("unpriced_count", figures.unpriced_count.into()),
    ]
}

pub(crate) fn object(
    columns: impl IntoIterator<Item = (&'static str, Value)>,
) -> Map<String, Value> {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
