//! `alias` in the forms that configurations of nginx have.

use super::Site;
use crate::support::{Client, Folder};

/// In nginx the last word loses the beginning that the alias stands for, so that people write it twice.
#[test]
fn a_last_word_that_says_its_location_twice_is_found() {
    let folder = Folder::new();
    folder.write("html/index.html", "home");
    folder.write("aliased/index.html", "front");
    folder.write("aliased/a.txt", "a");
    let here = folder.path().display().to_string();
    let locations = format!(
        "location /app/ {{ alias {here}/aliased/; try_files $uri $uri/ /app//app/index.html?$args; }}\n\
         location /once/ {{ alias {here}/aliased/; try_files $uri $uri/ /once/index.html?$args; }}\n"
    );
    let site = Site::serve(folder, "", &locations);
    let mut client = Client::connect(site.port);
    for (path, body) in [
        ("/app/a.txt", "a"),
        ("/app/none?x=1", "front"),
        ("/app/none/deep", "front"),
        ("/once/none", "front"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let response = client.response();
        assert_eq!(
            (response.status, response.text().as_ref()),
            (200, body),
            "{path}"
        );
    }
}
