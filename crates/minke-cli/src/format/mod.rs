//! How lists and objects are printed: tables, JSON, Go templates.

pub mod document;
pub mod fields;
pub mod list;
pub mod table;
pub mod template;
pub mod text;
