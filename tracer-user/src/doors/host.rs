//! Texts of /proc, of control groups and of container runtimes. Each parser gets all of them: none knows from where one is.

pub fn open(bytes: &[u8]) {
    crate::host::any_text(bytes);
}
