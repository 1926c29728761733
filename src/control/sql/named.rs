//! The files that a database URL names, for who has to let them be opened.

use std::path::{Path, PathBuf};

use super::option_file::OptionFile;
use super::url::Query;
use super::{DatabaseSettings, DatabaseUrl};
use crate::sandbox::Paths;

/// Keys of MySQL's and libpq's whose values are files that are read; the former's in an option file have dashes.
const KEYS: [&str; 8] =
    ["ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "sslrootcert", "sslcert", "sslkey", "read_default_file"];
/// Variables that libpq reads where the URL says nothing.
const VARIABLES: [&str; 3] = ["PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"];

/// What connecting to the database opens. Relative paths are taken from `directory`. A URL that cannot be used names
/// nothing; reads an option file, so it blocks.
#[must_use]
pub fn named_files(settings: &DatabaseSettings, directory: &Path) -> Paths {
    let mut paths = Paths::default();
    let text = |secret: &crate::secret::Secret| std::str::from_utf8(secret.expose()).map(str::to_owned);
    let Some(Ok(url)) = settings.connection.as_ref().map(text) else { return paths };
    let Ok(mut url) = DatabaseUrl::parse(&url, directory) else { return paths };
    if let Some(Ok(parameters)) = settings.connection_parameters.as_ref().map(text) {
        // A list that is too long is refused where it counts.
        let _ = url.add_parameters(&parameters);
    }
    match url {
        // A reader takes part in the write-ahead log, whose files stand beside the database's.
        DatabaseUrl::Sqlite { path } => paths.write.push(path),
        DatabaseUrl::MySql(url) | DatabaseUrl::Postgres(url) => paths.read = of_query(&url.query),
    }
    for path in &mut paths.read {
        *path = directory.join(&*path);
    }
    paths
}

fn of_query(query: &Query) -> Vec<PathBuf> {
    let mut named: Vec<PathBuf> = KEYS.iter().filter_map(|key| query.get(key)).map(PathBuf::from).collect();
    named.extend(VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from));
    let file = query.get("read_default_file").unwrap_or("/etc/my.cnf");
    let group = query.get("read_default_group").unwrap_or("client");
    if let Ok(file) = OptionFile::read(Path::new(file), group) {
        let in_file = KEYS.iter().filter_map(|key| file.get(&key.replace('_', "-")).map(PathBuf::from));
        named.extend(in_file);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn of(url: &str) -> Paths {
        let settings = DatabaseSettings { connection: Some(Secret::new(url)), ..DatabaseSettings::default() };
        named_files(&settings, Path::new("/start"))
    }

    #[test]
    fn files_are_found_in_the_url_and_in_the_option_file() {
        let directory = std::env::temp_dir().join(format!("consolegate-named-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("my.cnf");
        std::fs::write(&file, "[client]\nssl-ca = /pki/db/ca.pem\nssl_key = key.pem\n").unwrap();
        let url =
            format!("mysql+pymysql://u:p@h/nova?ssl_cert=/c/cert.pem&read_default_file={}", file.display());
        let read = of(&url).read;
        for path in ["/c/cert.pem", "/pki/db/ca.pem", "/start/key.pem", &file.display().to_string()] {
            assert!(read.contains(&PathBuf::from(path)), "{path}: {read:?}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
        let read = of("postgresql://h/nova?sslrootcert=%2Fpki%2Froot.pem").read;
        assert!(read.contains(&PathBuf::from("/pki/root.pem")), "{read:?}");
        assert_eq!(of("sqlite:///cell.sqlite").write, [PathBuf::from("/start/cell.sqlite")]);
        assert_eq!(of("nonsense"), Paths::default());
    }
}
