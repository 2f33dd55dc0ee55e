package telemetry

import (
	"net/url"
	"strings"
	"testing"
)

const canary = "s3cr3t-Canary_0"

// identifiable has the form of an identifiable access key.
var identifiable = strings.Repeat("A_-A", 11) + "AzFuZg7Zjw=="

func TestRedactQueryHidesSecretParametersHoweverSpelled(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"no secret", "name=World&x=1", "name=World&x=1"},
		{"code alone", "code=abc", "code=REDACTED"},
		{"code among others", "a=1&code=abc&b=2", "a=1&code=REDACTED&b=2"},
		{"upper case", "CODE=abc", "CODE=REDACTED"},
		{"sig of a storage link", "sv=2024&SIG=a%2Fb%3D&se=1", "sv=2024&SIG=REDACTED&se=1"},
		{"one letter percent-encoded", "%63ode=abc", "%63ode=REDACTED"},
		{"all letters percent-encoded", "%43%4F%44%45=abc", "%43%4F%44%45=REDACTED"},
		{"encoded equals sign", "code%3Dabc", "code%3DREDACTED"},
		{"given twice", "code=a&code=b", "code=REDACTED&code=REDACTED"},
		{"empty value", "code=&x=1", "code=REDACTED&x=1"},
		{"value with equals signs", "code=ab==&x=1", "code=REDACTED&x=1"},
		{"value with a semicolon", "code=ab;cd&x=1", "code=REDACTED&x=1"},
		{"value with a number sign", "code=ab#cd", "code=REDACTED"},
		{"after a semicolon", "a=1;code=abc", "a=1;code=REDACTED"},
		{"in a nested link", "u=https%3A%2F%2Fh%2Fapi%3Fcode%3Dabc&x=1", "u=https%3A%2F%2Fh%2Fapi%3Fcode%3DREDACTED&x=1"},
		{"in a twice nested link", "u=h%253Fcode%253Dabc", "u=h%253Fcode%253DREDACTED"},
		{"longer names stay", "mycode=1&codes=2&code2=3&design=4", "mycode=1&codes=2&code2=3&design=4"},
		{"name without value", "code", "code"},
		{"broken escapes", "%=1&%6=2&%zzcode=3&code=abc%", "%=1&%6=2&%zzcode=3&code=REDACTED"},
		{"an access token", "access_token=abc", "access_token=REDACTED"},
		{"names that others give keys", "key=a&apikey=b&Api_Key=c&api-key=d&access_key=e&token=f&secret=g",
			"key=REDACTED&apikey=REDACTED&Api_Key=REDACTED&api-key=REDACTED&access_key=REDACTED&token=REDACTED&secret=REDACTED"},
		{"the key's header as a parameter", "x-functions-key=abc&X%2DFunctions-Key=abc", "x-functions-key=REDACTED&X%2DFunctions-Key=REDACTED"},
		{"names of other things stay", "keyName=a&keys=2&monkey=b&tokens=5&tokenType=c&x-functions=1", "keyName=a&keys=2&monkey=b&tokens=5&tokenType=c&x-functions=1"},
		{"an identifiable key under any name", "a=1&q=" + identifiable + "&b=2", "a=1&q=REDACTED&b=2"},
		{"an identifiable key alone", identifiable, "REDACTED"},
		{"an identifiable key with escaped padding", "q=" + strings.TrimRight(identifiable, "=") + "%3D%3D&b=2", "q=REDACTED%3D%3D&b=2"},
		{"an identifiable key with escaped marks", "q=" + strings.Replace(identifiable, "A_-A", "A%5F%2dA", 1), "q=REDACTED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := RedactQuery(tt.in); got != tt.want {
				t.Errorf("RedactQuery(%q)\n got %q\nwant %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestRedactURLHidesQueryFragmentAndUserInfo(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"path only", "/api/hello", "/api/hello"},
		{"code", "http://h:7071/api/f?code=abc&x=1", "http://h:7071/api/f?code=REDACTED&x=1"},
		{"relative", "/api/f?x=1&Code=abc", "/api/f?x=1&Code=REDACTED"},
		{"fragment", "https://h/cb#access_token=abc", "https://h/cb#access_token=REDACTED"},
		{"question mark encoded into the path", "/api/f%3Fcode=abc", "/api/f%3Fcode=REDACTED"},
		{"password", "amqps://user:pw@h/q", "amqps://REDACTED@h/q"},
		{"an at sign in the path", "https://h/@user", "https://h/@user"},
		{"code in a path segment", "/api/code=1", "/api/code=1"},
		{"an identifiable key in a path segment", "/api/" + identifiable + "/x", "/api/REDACTED/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := RedactURL(tt.in); got != tt.want {
				t.Errorf("RedactURL(%q)\n got %q\nwant %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestRedactTextHidesSecretsWithinSentences(t *testing.T) {
	key := strings.Repeat("A", 44) + "AzFuZg7Zjw=="
	tests := []struct{ name, in, want string }{
		{"ordinary", "exit code=1; next", "exit code=1; next"},
		{"client error", `Get "http://h/api/f?code=abc": refused`, `Get "http://h/api/f?code=REDACTED": refused`},
		{"escaped quote in the value", `Get "http://h/?code=a\"bc": refused`, `Get "http://h/?code=REDACTED": refused`},
		{"end at white space", "call http://h/?code=abc now", "call http://h/?code=REDACTED now"},
		{"a colour before the value", "call /?code=\x1b[0mabc\x1b[1;31mdef now", "call /?code=REDACTED now"},
		{"a colour that does not end", "call /?code=\x1b[\nabc now", "call /?code=REDACTED\nabc now"},
		{"JSON escaping of the ampersand", `{"u":"/?a=1\u0026code=abc\u0026b=2"}`, `{"u":"/?a=1\u0026code=REDACTED\u0026b=2"}`},
		{"HTML escaping of the ampersand", "/?a=1&amp;code=abc", "/?a=1&amp;code=REDACTED"},
		{"connection string", "AccountName=n;AccountKey=abc==", "AccountName=n;AccountKey=REDACTED"},
		{"bare key", "key " + key + " found", "key REDACTED found"},
		{"bare key without padding", "x=" + strings.TrimRight(key, "="), "x=REDACTED"},
		{"two bare keys", key + " " + key, "REDACTED REDACTED"},
		{"two bare keys with nothing between", key + key, "REDACTEDREDACTED"},
		{"a bare key that holds the signature twice", strings.Repeat("A", 44) + "AzFu" + strings.Repeat("B", 40) + "AzFuZg7Zjw==", "REDACTEDREDACTED"},
		{"signature without a key", "AzFu and short AzFuZg7Zjw==", "AzFu and short AzFuZg7Zjw=="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := RedactText(tt.in); got != tt.want {
				t.Errorf("RedactText(%q)\n got %q\nwant %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestRedactQueryDoesNotAllocateWithoutSecrets(t *testing.T) {
	for _, q := range []string{"", "name=World&page=2", "a=%20b&sigma=1", "codes=1", "q=AzFu", "keys=1"} {
		if n := testing.AllocsPerRun(100, func() { RedactQuery(q) }); n != 0 {
			t.Errorf("RedactQuery(%q) allocates %v times", q, n)
		}
	}
}

func TestSecretAttributeKnowsSecretsFromTheirProperties(t *testing.T) {
	secret := []string{"key", "Key", "code", "secret", "token", "password", "authorization", "Authorization",
		"x-functions-key", "access_token", "clientSecret", "apikey", "masterKey", "keyValue", "token_hash",
		"functionCode", "connectionString", "keys", "sharedAccessKey"}
	open := []string{"", "keyName", "key_name", "key_kind", "tokenType", "exit_code", "exitCode", "statusCode",
		"function", "app", "path", "status", "reason", "-", "encoding", "keystore", "codec"}
	for _, name := range secret {
		if !secretAttribute(name) {
			t.Errorf("%q passes for harmless", name)
		}
	}
	for _, name := range open {
		if secretAttribute(name) {
			t.Errorf("%q passes for a secret", name)
		}
	}
}

func FuzzRedactQuery(f *testing.F) {
	for _, s := range []string{"", "code=a", "%63ode=a&b", "a;code=b", "x=%3Fsig%3d1", "%25%2563ode=", `\u0026code=1`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, q string) {
		got := RedactQuery(q)
		if again := RedactQuery(got); again != got {
			t.Errorf("not idempotent: %q then %q", got, again)
		}
		values, _ := url.ParseQuery(got) // broken pairs are left out, as a server does
		for name, list := range values {
			if !strings.EqualFold(name, "code") && name != "sig" {
				continue
			}
			for _, v := range list {
				if v != "" && v != mask {
					t.Errorf("RedactQuery(%q) = %q shows %s %q", q, got, name, v)
				}
			}
		}
		if s := RedactQuery(q + "&code=" + canary); strings.Contains(s, canary) {
			t.Errorf("secret after %q is shown: %q", q, s)
		}
	})
}

func FuzzRedactText(f *testing.F) {
	for _, s := range []string{"", "http://u:p@h/", `"`, `\`, "://@", strings.Repeat("A", 44) + "AzFuZg7Zjw=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, secret := range []string{"?code=" + canary, "&SIG=" + canary, "?%63ode=" + canary} {
			if got := RedactText(s + secret); strings.Contains(got, canary) {
				t.Errorf("secret after %q is shown: %q", s, got)
			}
			if got := RedactURL(s + secret); strings.Contains(got, canary) {
				t.Errorf("secret after %q is shown in URL: %q", s, got)
			}
		}
		if got := RedactText(s); RedactText(got) != got {
			t.Errorf("not idempotent: %q then %q", got, RedactText(got))
		}
	})
}

func BenchmarkRedactQuery(b *testing.B) {
	for name, q := range map[string]string{"clean": "name=World&page=2&sort=up", "code": "name=World&code=abcdefghijklmnop"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				RedactQuery(q)
			}
		})
	}
}
