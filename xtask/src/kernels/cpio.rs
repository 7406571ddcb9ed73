//! Writes an archive that a kernel unpacks into its memory as its first file system (cpio, format `newc`).
//!
//! In: directories and files by their paths. Out: bytes. The format is that of the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive under way. Directories above what is added are added before it.
pub struct Archive<W> {
    out: W,
    /// Numbers of files differ, or they are taken for one.
    inode: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self { out, inode: 0, directories: BTreeSet::new() }
    }

    /// Adds a directory, and those above it.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.above(path)?;
        let path = path.trim_matches('/').to_owned();
        if !path.is_empty() && self.directories.insert(path.clone()) {
            self.entry(&path, DIRECTORY, &[])?;
        }
        Ok(())
    }

    /// Adds a file that can be run.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.above(path)?;
        self.entry(path, PROGRAM, bytes)
    }

    /// Ends the archive, and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn above(&mut self, path: &str) -> io::Result<()> {
        match Path::new(path).parent().and_then(Path::to_str) {
            Some(parent) if !parent.trim_matches('/').is_empty() => self.directory(parent),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let path = path.trim_start_matches('/');
        let too_large = |_| io::Error::other(format!("{path} is too large for an archive"));
        let size = u32::try_from(bytes.len()).map_err(too_large)?;
        let name = u32::try_from(path.len() + 1).map_err(too_large)?;
        // Magic, then: inode, mode, uid, gid, links, time, size, four of devices, length of the name, checksum.
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        let mut head = String::from("070701");
        fields.iter().for_each(|field| head.push_str(&format!("{field:08x}")));
        head.push_str(path);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(bytes)
    }

    /// Headers and contents begin at multiples of four.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let over = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(&[0; 3][..over])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/c", b"12345").unwrap();
        archive.file("/a/b/d", b"").unwrap();
        archive.directory("/a/b").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let mut names = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let text = std::str::from_utf8(&rest[..110]).unwrap();
            assert!(text.starts_with("070701"), "{text}");
            let field =
                |at: usize| usize::from_str_radix(&text[6 + 8 * at..14 + 8 * at], 16).unwrap();
            let (size, name) = (field(6), field(11));
            names.push(String::from_utf8(rest[110..110 + name - 1].to_vec()).unwrap());
            let data = (110 + name).next_multiple_of(4);
            if names.last().is_some_and(|name| name == "a/b/c") {
                assert_eq!(&rest[data..data + size], b"12345");
            }
            rest = &rest[(data + size).next_multiple_of(4)..];
        }
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
    }
}
