//! A list printed by a `--format`: `table`, `table TEMPLATE`, `json` or a template, over rows of named fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;
use minke_model::Result;

use super::document::Document;
use super::table;
use super::template::{Program, Subject, method};

/// The fields of one row.
pub type Row = BTreeMap<Arc<str>, Value>;

/// What a list's rows are.
pub struct Kind {
    /// The columns of the plain table, as a template.
    pub table: &'static str,
    /// What `--quiet` prints.
    pub quiet: &'static str,
    /// The Go type that errors name.
    pub go_type: &'static str,
    /// Field and column heading.
    pub headings: &'static [(&'static str, &'static str)],
}

/// A format that was chosen for a list.
pub struct Format {
    template: String,
    as_table: bool,
    plain_json: bool,
}

impl Format {
    /// Decides on the format: the flag's, else the configuration's, else the table; `quiet` is what `-q` asks for.
    pub fn choose(kind: &Kind, flag: &str, configured: &str, quiet: bool) -> Self {
        let asked = if flag.is_empty() { configured } else { flag };
        let asked = if asked.is_empty() || (quiet && flag.is_empty()) { "table" } else { asked };
        let (as_table, template) = match asked {
            "json" => (false, "{{json .}}"),
            "table" if quiet => (false, kind.quiet),
            "table" => (true, kind.table),
            other => match other.strip_prefix("table ") {
                Some(template) => (true, template.trim_start()),
                None => (false, other),
            },
        };
        Self {
            template: template.trim().replace("\\t", "\t").replace("\\n", "\n"),
            as_table,
            plain_json: asked == "json",
        }
    }

    /// Whether the template prints a field, or everything; plain `json` leaves out what is costly to find.
    pub fn uses(&self, field: &str) -> bool {
        let everything = !self.plain_json && self.template.contains("json .}}");
        everything || self.template.contains(&format!(".{field}"))
    }

    /// Prints rows; a table has a heading even where there are none.
    ///
    /// # Errors
    /// The template is wrong, or names a field that rows do not have.
    pub fn render(&self, kind: &Kind, rows: Vec<Row>) -> Result<String> {
        let program = Program::new(&self.template, Subject::Row(kind.go_type), "");
        program.check()?;
        let mut lines = String::new();
        for row in rows {
            lines.push_str(&program.run(&Document::of_row(row))?);
            lines.push('\n');
        }
        if !self.as_table {
            return Ok(lines);
        }
        let heading = program.run(&Document::of_row(headings(kind)))?;
        Ok(table::align(&format!("{heading}\n{lines}")))
    }
}

fn headings(kind: &Kind) -> Row {
    let mut row: Row = kind
        .headings
        .iter()
        .map(|(field, heading)| (Arc::from(*field), Value::String((*heading).into())))
        .collect();
    row.insert(
        "Label".into(),
        method(|name| name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " ")),
    );
    row
}

/// Makes a row of fields with texts.
pub fn row(fields: impl IntoIterator<Item = (&'static str, String)>) -> Row {
    fields.into_iter().map(|(name, text)| (Arc::from(name), Value::String(text.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        table: "{{.ID}}\t{{.Name}}",
        quiet: "{{.ID}}",
        go_type: "*formatter.X",
        headings: &[("ID", "THE ID"), ("Name", "NAME")],
    };

    fn render(flag: &str, quiet: bool) -> String {
        let rows = vec![row([("ID", "1".to_string()), ("Name", "a<b".to_string())])];
        match Format::choose(&KIND, flag, "", quiet).render(&KIND, rows) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_form_of_format_is_printed() {
        assert_eq!(render("", false), "THE ID    NAME\n1         a<b\n");
        assert_eq!(render("", true), "1\n");
        assert_eq!(render("json", false), "{\"ID\":\"1\",\"Name\":\"a\\u003cb\"}\n");
        assert_eq!(render("{{.Name}}\\t{{.ID}}", false), "a<b\t1\n");
        assert_eq!(render("table {{.Name}}\\t{{upper .ID}}", false), "NAME      THE ID\na<b       1\n");
        assert_eq!(
            render("{{.Foo}}", false),
            "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.X"
        );
    }
}
