//! The image that every engine carries, so that a container can run where there is no network and no other image:
//! one file, a static program that greets. It is made when it is first asked for.

use std::io::Cursor;

use minke_model::{Context as _, Reference, Result};
use minke_store::{ImportOptions, parse_changes};

use crate::engine::Shared;

/// The image's name.
pub const NAME: &str = "minke/hello";
/// Its only file, from the root.
const PROGRAM: &str = "hello";

/// Makes the image if `name` means it and the store doesn't have it.
pub fn provide(shared: &Shared, name: &str) -> Result<()> {
    let wanted = Reference::parse(NAME)?.with_default_tag();
    let asked = Reference::parse(name).map(Reference::with_default_tag);
    if !asked.is_ok_and(|asked| asked == wanted) || shared.store.resolve_reference(&wanted).is_some() {
        return Ok(());
    }
    let options = ImportOptions {
        reference: Some(wanted),
        message: "Comes with minke".into(),
        changes: parse_changes(&[format!("CMD [\"/{PROGRAM}\"]")])?,
        platform: None,
    };
    let archive = archive(shared.options.shim)?;
    shared.store.import(&mut Cursor::new(archive), &options).map(|_| ())
}

/// The image's file system.
fn archive(program: &[u8]) -> Result<Vec<u8>> {
    let failed = "making the embedded image";
    let mut header = tar::Header::new_ustar();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, PROGRAM, program).context(failed)?;
    archive.into_inner().context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_image_is_one_executable_file() {
        let bytes = archive(b"program").unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries: Vec<(String, u32, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), entry.size())
            })
            .collect();
        assert_eq!(entries, [("hello".to_owned(), 0o755, 7)]);
    }
}
