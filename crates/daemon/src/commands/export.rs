//! `tallyd export`: every row of the events or of marts, one at a time, to standard output.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::{Serialize, Serializer};
use store::{ExportError, ExportSink, Exported, Field, Filter, Mart, Reader, marts};

use crate::cli::{Export, ExportFormat, ExportOptions};
use crate::clock::now_ms;
use crate::config::Config;
use crate::output::WrongUsage;
use crate::text;

/// What is written at once.
const BUFFER: usize = 64 << 10;

pub(super) fn run(config: &Config, what: Export) -> anyhow::Result<ExitCode> {
    let (what, options) = match what {
        Export::Events(options) => (Exported::Events, options),
        Export::Marts { marts, options } => (Exported::Marts(wanted(marts, &options)?), options),
    };
    let format = options.format;
    let reader = Reader::open(&config.data_dir)?;
    let filter = options.which.filter(reader.day(now_ms())?)?;
    let is_terminal = io::stdout().is_terminal();
    let out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let exported = match format {
        ExportFormat::Csv => write(&reader, &what, &filter, &mut Csv::to(out, is_terminal)),
        ExportFormat::Jsonl => {
            let mart = matches!(what, Exported::Marts(_));
            write(&reader, &what, &filter, &mut JsonLines::to(out, mart))
        }
    };
    match exported {
        // Who reads has seen enough (`| head`).
        Err(ExportError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => {}
        Err(ExportError::Write(e)) => return Err(e).context("cannot write to standard output"),
        Err(ExportError::Read(e)) => return Err(e.into()),
        Ok(()) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Every mart once; all if none is named.
fn wanted(
    named: Vec<&'static Mart>,
    options: &ExportOptions,
) -> Result<Vec<&'static Mart>, WrongUsage> {
    let mut wanted: Vec<&'static Mart> = Vec::new();
    for mart in if named.is_empty() { marts::ALL.iter().collect() } else { named } {
        if !wanted.iter().any(|known| known.name == mart.name) {
            wanted.push(mart);
        }
    }
    if options.format == ExportFormat::Csv && wanted.len() > 1 {
        let names: Vec<_> = wanted.iter().map(|mart| mart.short_name()).collect();
        return Err(WrongUsage(format!(
            "CSV holds the rows of one mart: name one of {}\n\
             hint: several marts at once go with --format jsonl",
            names.join(", ")
        )));
    }
    Ok(wanted)
}

/// A sink with an end.
trait Output: ExportSink {
    fn flush(&mut self) -> io::Result<()>;
}

fn write(
    reader: &Reader,
    what: &Exported,
    filter: &Filter,
    output: &mut impl Output,
) -> Result<(), ExportError> {
    reader.export(what, filter, output)?;
    Ok(output.flush()?)
}

/// As RFC 4180 has it, lines ended as on Unix. NULL is an empty field.
struct Csv<W: Write> {
    writer: csv::Writer<W>,
    /// A name from a log must not steer it.
    is_terminal: bool,
}

impl<W: Write> Csv<W> {
    fn to(out: W, is_terminal: bool) -> Self {
        Self { writer: csv::Writer::from_writer(out), is_terminal }
    }
}

impl<W: Write> ExportSink for Csv<W> {
    fn begin(&mut self, _table: &str, columns: &[&str]) -> io::Result<()> {
        self.writer.write_record(columns).map_err(io_error)
    }

    fn row(&mut self, values: &[Field<'_>]) -> io::Result<()> {
        for value in values {
            let written = match value {
                Field::Null => self.writer.write_field(""),
                Field::Integer(number) => self.writer.write_field(number.to_string()),
                Field::Real(number) => self.writer.write_field(number.to_string()),
                Field::Text(text) if self.is_terminal => {
                    let shown: String = text.chars().map(text::harmless).collect();
                    self.writer.write_field(shown)
                }
                Field::Text(text) => self.writer.write_field(text.as_bytes()),
            };
            written.map_err(io_error)?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(io_error)
    }
}

impl<W: Write> Output for Csv<W> {
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The error of the writer below, by which a reader that went away is known.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// An object per line, its members in the order of the columns. That of a mart says which.
struct JsonLines<W: Write> {
    out: W,
    mart: bool,
    table: String,
    columns: Vec<String>,
}

impl<W: Write> JsonLines<W> {
    fn to(out: W, mart: bool) -> Self {
        Self { out, mart, table: String::new(), columns: Vec::new() }
    }
}

impl<W: Write> ExportSink for JsonLines<W> {
    fn begin(&mut self, table: &str, columns: &[&str]) -> io::Result<()> {
        self.table = table.to_owned();
        self.columns = columns.iter().map(|&column| column.to_owned()).collect();
        Ok(())
    }

    fn row(&mut self, values: &[Field<'_>]) -> io::Result<()> {
        let table = [Field::Text(self.table.as_str().into())];
        let mart = ["mart"].into_iter().zip(&table).filter(|_| self.mart);
        let members = mart.chain(self.columns.iter().map(String::as_str).zip(values));
        let mut json = serde_json::Serializer::new(&mut self.out);
        json.collect_map(members.map(|(name, value)| (name, Json(value))))?;
        self.out.write_all(b"\n")
    }
}

impl<W: Write> Output for JsonLines<W> {
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Json<'a>(&'a Field<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Field::Null => serializer.serialize_none(),
            Field::Integer(number) => serializer.serialize_i64(*number),
            Field::Real(number) => serializer.serialize_f64(*number),
            Field::Text(text) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sink: &mut dyn ExportSink) {
        sink.begin("daily", &["a", "b"]).unwrap();
        sink.row(&[Field::Integer(-1), Field::Text("x".into())]).unwrap();
        sink.row(&[Field::Null, Field::Text("say \"a,b\"\nü\u{1}".into())]).unwrap();
        sink.row(&[Field::Real(0.000_000_8), Field::Text("=1+1".into())]).unwrap();
    }

    #[test]
    fn csv_is_quoted_where_it_has_to_be_and_numbers_have_no_exponent() {
        for (is_terminal, end) in [(false, "\nü\u{1}"), (true, "\u{fffd}ü\u{fffd}")] {
            let mut csv = Csv::to(Vec::new(), is_terminal);
            rows(&mut csv);
            let text = String::from_utf8(csv.writer.into_inner().unwrap()).unwrap();
            let expect = format!("a,b\n-1,x\n,\"say \"\"a,b\"\"{end}\"\n0.0000008,=1+1\n");
            assert_eq!(text, expect);
        }
    }

    #[test]
    fn a_json_line_has_its_members_in_order_and_that_of_a_mart_says_which() {
        for (mart, first) in [(false, ""), (true, r#""mart":"daily","#)] {
            let mut lines = JsonLines::to(Vec::new(), mart);
            rows(&mut lines);
            let text = String::from_utf8(lines.out).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines[0], format!(r#"{{{first}"a":-1,"b":"x"}}"#));
            let b = r#""b":"say \"a,b\"\nü\u0001""#;
            assert_eq!(lines[1], format!(r#"{{{first}"a":null,{b}}}"#));
            assert_eq!(lines.len(), 3);
        }
    }
}
