//! `modern_browser` and `ancient_browser`.

use super::pair::compare_with;
use super::request::{Case, get};

const LINES: &str = r#"
    ancient_browser old;
    server {
        listen 127.0.0.1:PORT; server_name browser.example;
        location / { return 200 "$modern_browser|$ancient_browser|$msie|"; }
        location /listed/ {
            modern_browser safari 413; modern_browser msie 5.5; modern_browser gecko 1.0.0; modern_browser opera 9.0;
            modern_browser konqueror 3; modern_browser_value new; ancient_browser_value $old;
            return 200 "$modern_browser|$ancient_browser|$msie|";
            location /listed/inner/ { modern_browser unlisted; return 200 "$modern_browser|$ancient_browser|"; }
        }
        location /unlisted/ {
            modern_browser unlisted; ancient_browser Links Lynx netscape4;
            return 200 "$modern_browser|$ancient_browser|";
        }
    }
"#;

#[test]
fn browsers_are_known_as_in_nginx() {
    let agents = [
        "",
        "old",
        "Opera",
        "Opera ",
        "Opera/8.99",
        "Opera/9.0",
        "Opera/9",
        "Opera/10.0.1",
        "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
        "Mozilla/4.0 (compatible; MSIE 5.01; Windows NT 5.1)",
        "Mozilla/4.0 (compatible; MSIE 5.5)",
        "Mozilla/4.0 (compatible; MSIE 5.05)",
        "Mozilla/4.0 (compatible; MSIE 6.0; X11) Opera 7.50  [en]",
        "Mozilla/4.0 (compatible; MSIE ",
        "Mozilla/4.0 (compatible; MSIE 6",
        "Mozilla/4.0 (compatible; MSIE 6.",
        "MSIE 6.0",
        "MSIE 6",
        "Mozilla/5.0 (X11; U; Linux; rv:1.7.12) Gecko/20051010",
        "Mozilla/5.0 (X11; U; Linux; rv:0.9.4) Gecko/20051010",
        "Mozilla/5.0 (X11; rv:0.100.4) Gecko/1",
        "Mozilla/5.0 (Macintosh) AppleWebKit/125.2 (KHTML, like Gecko) Safari/412.9",
        "Mozilla/5.0 (Macintosh) AppleWebKit/125.2 (KHTML, like Gecko) Safari/413",
        "Mozilla/5.0 (compatible; Konqueror/3.1; Linux)",
        "Mozilla/5.0 (compatible; Konqueror/2.9)",
        "Links (2.1)",
        "Lynx/2.8",
        "Mozilla/4.72 [en] (X11)",
        "Mozilla/4.72 ",
        "Mozilla/5.72 [en] (X11)",
        "Mozilla/0.72 [en] (X11)",
        "curl/8",
    ];
    let mut cases: Vec<Case> = Vec::new();
    for path in ["/", "/listed/", "/listed/inner/", "/unlisted/"] {
        cases.push(get(path).host("browser.example").into());
        for agent in agents {
            let request = get(path).host("browser.example");
            cases.push(request.line(format!("User-Agent: {agent}")).into());
        }
    }
    compare_with(LINES, |_| cases);
}
