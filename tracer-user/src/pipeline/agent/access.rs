//! Who is answered: what the files say that `[listen]` names.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::geteuid;

use crate::agent::config::Listen;
use crate::agent::web::{Access, Secrets, TlsFiles, acceptor};
use crate::exit::{Exit, Failure};
use crate::output::text::printable;

/// Shorter tokens can be guessed.
const SHORTEST: usize = 16;
/// Files are no larger.
const LARGEST: u64 = 1 << 20;

/// Who is answered, and how many.
///
/// # Errors
/// As [`secrets`]; anybody would be answered.
pub fn access(listen: &Listen) -> Result<Access, Failure> {
    listen.is_safe().map_err(|why| Failure::new(Exit::Usage, why))?;
    let (max_connections, max_rate) = (listen.max_connections, f64::from(listen.max_rate));
    Ok(Access { secrets: secrets(listen)?, max_connections, max_rate })
}

/// Reads the files.
///
/// # Errors
/// One can't be read, is not what it should be, or holds a secret and is open to others.
pub fn secrets(listen: &Listen) -> Result<Secrets, Failure> {
    let token = listen.token_file.as_deref().map(token).transpose()?;
    let tls = match (&listen.tls_cert, &listen.tls_key) {
        (Some(cert), Some(key)) => {
            let files = TlsFiles {
                cert: read(cert, false)?,
                key: read(key, true)?,
                client_ca: listen.tls_client_ca.as_deref().map(|ca| read(ca, false)).transpose()?,
            };
            let acceptor = acceptor(&files)
                .map_err(|why| Failure::new(Exit::Failure, format!("TLS: {why}")))?;
            Some(acceptor)
        }
        _ => None,
    };
    Ok(Secrets { token, tls })
}

fn token(path: &Path) -> Result<String, Failure> {
    let bytes = read(path, true)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.len() < SHORTEST || !is_plain {
        return Err(refused(
            path,
            format!("a token is one line of {SHORTEST} or more letters, digits and signs"),
        ));
    }
    Ok(text.to_owned())
}

/// Reads a file; of a secret nobody else may know, or change, what is in it.
fn read(path: &Path, is_secret: bool) -> Result<Vec<u8>, Failure> {
    let unread = |err: std::io::Error| refused(path, err.to_string());
    let file = File::open(path).map_err(unread)?;
    let meta = file.metadata().map_err(unread)?;
    if !meta.is_file() {
        return Err(refused(path, "no file".to_owned()));
    }
    let is_ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
    if is_secret && !is_ours {
        return Err(refused(path, format!("it belongs to user {}", meta.uid())));
    }
    // A group may read: that is how Kubernetes hands out secrets.
    if is_secret && meta.mode() & 0o027 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(refused(
            path,
            format!("others may read or change it (mode {mode:o}); chmod 600 keeps it secret"),
        ));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(unread)?;
    Ok(bytes)
}

fn refused(path: &Path, why: String) -> Failure {
    Failure::new(Exit::Failure, format!("{}: {why}", printable(&path.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_is_secret_and_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let said = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            token(&path).map_err(|failure| failure.message)
        };
        assert_eq!(said("correct-horse-battery\n", 0o600), Ok("correct-horse-battery".to_owned()));
        assert!(said("correct-horse-battery\n", 0o440).is_ok());
        for mode in [0o644, 0o604, 0o620] {
            assert!(said("correct-horse-battery\n", mode).is_err_and(|why| why.contains("others")));
        }
        assert!(said("short\n", 0o600).is_err_and(|why| why.contains("16 or more")));
        assert!(said("correct horse battery\n", 0o600).is_err());
        assert!(token(dir.path()).is_err_and(|failure| failure.message.contains("no file")));
    }
}
