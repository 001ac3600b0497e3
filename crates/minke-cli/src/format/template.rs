//! Go templates with Docker's functions, and errors in the words of Go's engine.

use std::sync::Arc;

use gotmpl::{MissingKey, Template, TemplateError, Value};
use minke_model::{Error, Result};

use super::document::Document;
use super::text;

/// What a template is run on: decides its words for a missing field and how `json` escapes objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A row of a list, of this Go type.
    Row(&'static str),
    /// An engine's JSON.
    Object,
    /// A value of this Go type, whose errors stand alone.
    Typed(&'static str),
}

/// The lists whose missing fields Docker words as it does those of objects.
const WORDED_AS_OBJECTS: [&str; 4] = [
    "*formatter.clientContextContext",
    "*formatter.imageContext",
    "*formatter.volumeContext",
    "*image.historyContext",
];

/// A `--format` that has been read.
pub struct Program {
    text: String,
    subject: Subject,
    name: &'static str,
}

impl Program {
    /// Takes a template; it is parsed with the data at hand in [`Program::run`].
    pub fn new(text: &str, subject: Subject, name: &'static str) -> Self {
        Self { text: with_calls(text), subject, name }
    }

    /// Runs the template on a document.
    ///
    /// # Errors
    /// The template is wrong, or names a field that is not there.
    pub fn run(&self, document: &Document) -> Result<String> {
        let template =
            functions(Template::new(self.name), document, self.subject).missing_key(MissingKey::Error);
        let template =
            template.parse(&self.text).map_err(|error| Error::invalid(self.parse_failure(&error)))?;
        let text = template.execute_to_string(&document.value);
        // Go prints a nil of a typed field so; here all data is in maps, where its words are others.
        let text = text.map(|text| text.replace("<no value>", "<nil>"));
        text.map_err(|error| Error::invalid(self.run_failure(&error)))
    }

    /// Checks the template without data.
    ///
    /// # Errors
    /// The template is wrong.
    pub fn check(&self) -> Result<()> {
        let document = Document::of_row(Default::default());
        let template = functions(Template::new(self.name), &document, self.subject).parse(&self.text);
        let template = template.map_err(|error| Error::invalid(self.parse_failure(&error)))?;
        // Go knows every function when it parses, ours when it comes to it.
        match template.execute_to_string(&document.value) {
            Err(error @ TemplateError::UndefinedFunction(_)) => {
                Err(Error::invalid(self.parse_failure(&error)))
            }
            _ => Ok(()),
        }
    }

    fn parse_failure(&self, error: &TemplateError) -> String {
        let prefix = match self.subject {
            Subject::Row(_) => "failed to parse template: ",
            Subject::Object => "template parsing error: ",
            Subject::Typed(_) => "",
        };
        match error {
            TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
                format!("{prefix}template: {}:{line}: {message}", self.name)
            }
            TemplateError::UndefinedFunction(function) => {
                format!("{prefix}template: {}:1: function {function:?} not defined", self.name)
            }
            other => format!("{prefix}template: {}: {other}", self.name),
        }
    }

    fn run_failure(&self, error: &TemplateError) -> String {
        let prefix = match self.subject {
            Subject::Row(kind) if WORDED_AS_OBJECTS.contains(&kind) => "template parsing error: ",
            Subject::Row(_) => "failed to execute template: ",
            Subject::Object => "template parsing error: ",
            Subject::Typed(_) => "",
        };
        let name = self.name;
        let TemplateError::MissingKey { key } = error else {
            return format!("{prefix}template: {name}: {error}");
        };
        let at = self.text.find(&format!(".{key}")).unwrap_or(0);
        let line = self.text[..at].matches('\n').count() + 1;
        let column = at - self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let reason = match self.subject {
            Subject::Row(kind) | Subject::Typed(kind) => format!("can't evaluate field {key} in type {kind}"),
            Subject::Object => format!("map has no entry for key {key:?}"),
        };
        let part_of_chain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let begin = self.text[..at].rfind(|c| !part_of_chain(c)).map_or(0, |end| end + 1);
        let chain = &self.text[begin..at];
        format!("{prefix}template: {name}:{line}:{column}: executing {name:?} at <{chain}.{key}>: {reason}")
    }
}

/// `.Label "x"` is a method in Docker; here it is a function in a field, which a template must `call`.
fn with_calls(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = rest.find(".Label ") {
        let part_of_name = rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ')');
        out.push_str(&rest[..at]);
        if !part_of_name {
            out.push_str("call ");
        }
        out.push_str(".Label ");
        rest = &rest[at + 7..];
    }
    out.push_str(rest);
    out
}

fn functions(template: Template, document: &Document, subject: Subject) -> Template {
    let document = document.clone();
    let text_of = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
    let number_of =
        |value: Option<&Value>| usize::try_from(value.and_then(Value::as_int).unwrap_or(0)).unwrap_or(0);
    template
        .func("json", move |args| {
            let value = args.first().unwrap_or(&Value::Nil);
            let escape_html = matches!((subject, value), (Subject::Row(_), Value::Map(_)));
            Ok(Value::String(document.render(value, escape_html).into()))
        })
        .func("split", move |args| {
            let (text, separator) = (text_of(args.first()), text_of(args.get(1)));
            let parts: Vec<Value> = match separator.as_str() {
                "" => text.chars().map(|c| Value::String(c.to_string().into())).collect(),
                separator => text.split(separator).map(|part| Value::String(part.into())).collect(),
            };
            Ok(Value::List(parts.into()))
        })
        .func("join", move |args| {
            let parts: Vec<String> = match args.first() {
                Some(Value::List(values)) => values.iter().map(ToString::to_string).collect(),
                Some(Value::Nil) | None => Vec::new(),
                Some(other) => {
                    return Err(TemplateError::Exec(format!(
                        "join: a list is needed, not {}",
                        other.type_name()
                    )));
                }
            };
            Ok(Value::String(parts.join(&text_of(args.get(1))).into()))
        })
        .func("title", move |args| Ok(Value::String(text::title(&text_of(args.first())).into())))
        .func("lower", move |args| Ok(Value::String(text_of(args.first()).to_lowercase().into())))
        .func("upper", move |args| Ok(Value::String(text_of(args.first()).to_uppercase().into())))
        .func("pad", move |args| {
            let text = text_of(args.first());
            let padded = match text.is_empty() {
                true => text,
                false => format!(
                    "{}{text}{}",
                    " ".repeat(number_of(args.get(1)).min(4096)),
                    " ".repeat(number_of(args.get(2)).min(4096))
                ),
            };
            Ok(Value::String(padded.into()))
        })
        .func("truncate", move |args| {
            let text = text_of(args.first());
            Ok(Value::String(text.chars().take(number_of(args.get(1))).collect::<String>().into()))
        })
}

/// A function in a row's field, called with one text.
pub fn method(act: impl Fn(&str) -> String + Send + Sync + 'static) -> Value {
    Value::Function(Arc::new(move |args: &[Value]| {
        let argument = args.first().map(ToString::to_string).unwrap_or_default();
        Ok(Value::String(act(&argument).into()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(template: &str, json: &str) -> String {
        let document = Document::parse(json.as_bytes()).unwrap();
        match Program::new(template, Subject::Object, "").run(&document) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn dockers_functions_are_there() {
        let json = r#"{"A":"b/c","L":["x","y"],"O":{"z":1,"a":2}}"#;
        let cases = [
            ("{{json .O}} {{json .L}}", r#"{"z":1,"a":2} ["x","y"]"#),
            ("{{upper .A}} {{title .A}} {{lower \"Q\"}}", "B/C B/C q"),
            ("{{join .L \",\"}} {{index (split .A \"/\") 1}}", "x,y c"),
            ("{{pad .A 1 2}}|{{truncate .A 1}}", " b/c  |b"),
            ("{{range .L}}{{.}};{{end}}", "x;y;"),
        ];
        for (template, expected) in cases {
            assert_eq!(run(template, json), expected, "{template}");
        }
    }

    #[test]
    fn errors_have_gos_words() {
        assert_eq!(
            run("{{.Foo}}", "{}"),
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""
        );
        assert!(run("{{.Foo", "{}").starts_with("template parsing error: template: :1: unclosed action"));
    }

    #[test]
    fn a_label_is_found_by_a_method() {
        let row = [(Arc::from("Label"), method(|name| format!("<{name}>")))].into_iter().collect();
        let program = Program::new("{{.Label \"a\"}} {{upper (.Label \"b\")}}", Subject::Row("x"), "");
        assert_eq!(program.run(&Document::of_row(row)).unwrap(), "<a> <B>");
    }
}
