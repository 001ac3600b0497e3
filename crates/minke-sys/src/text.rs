//! Strings as the kernel wants them: ended by a zero byte, in arrays ended by a null pointer.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::c_char;

use crate::{Errno, Result};

/// An argument or environment vector.
pub struct Strings {
    _texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// Copies `texts`; one that holds a zero byte is `EINVAL`.
    pub fn new<T: AsRef<str>>(texts: &[T]) -> Result<Self> {
        let texts = texts.iter().map(|text| text_of(text.as_ref())).collect::<Result<Vec<CString>>>()?;
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([core::ptr::null()]).collect();
        Ok(Self { _texts: texts, pointers })
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Copies a text; one that holds a zero byte is `EINVAL`.
pub fn text_of(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Errno::INVAL)
}
