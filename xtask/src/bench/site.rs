//! A site as people have them, and a browser that asks for it: several servers on a port, locations by
//! regular expression, added headers, an access log.

use std::path::Path;

/// The ports of the sites lie so far behind those of the servers' plain ones.
pub(super) const PORT_STEP: u16 = 50;

/// What the browser asks for, in the folder of the bench's files.
pub(super) const PATH: &str = "/static/app.js";
pub(super) const BODY_BYTES: usize = 1 << 10;

/// What it sends besides the request line.
pub(super) const LINES: &[&str] = &[
    "Host: www.example.org",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: */*",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: https://www.example.org/products/",
    "Connection: keep-alive",
    "Cookie: session=0123456789abcdef; theme=dark",
];

/// The servers, for the `http` block of a configuration.
pub(super) fn servers(folder: &Path, name: &str, port: u16) -> String {
    let folder = folder.display();
    let port = port + PORT_STEP;
    format!(
        r#"
    log_format site '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                    '"$http_referer" "$http_user_agent" "$http_x_forwarded_for" $request_time';
    server {{
        listen 127.0.0.1:{port} default_server;
        return 444;
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name example.org www.example.org;
        root {folder}/site;
        access_log {folder}/{name}.access.log site;
        error_page 404 /404.html;
        types {{ text/html html; application/javascript js; text/css css; }}
        add_header X-Frame-Options SAMEORIGIN;
        add_header X-Content-Type-Options nosniff;
        location / {{ try_files $uri $uri/ =404; }}
        location ~ /\. {{ return 403; }}
        location ~* \.(css|js|png|svg|woff2?)$ {{ expires 30d; }}
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name *.example.net;
        root {folder}/site;
    }}
"#
    )
}
