package accesskey

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestNamesThatAppsUseAreAccepted(t *testing.T) {
	for _, name := range []string{
		"default", "a", "eventgrid_extension", "durabletask_extension", "key-1", "my.key", "_key1", "master",
		"Te-st!{rty", "Te-st!{rt*(y)(ty-", "100%", "a b", "a..b", "...", "schlüssel", "鍵", "ключ", "🔑", "__master", "_masters",
		strings.Repeat("é", MaxNameLen),
	} {
		if err := ValidateName(name); err != nil {
			t.Errorf("ValidateName(%q): %v", name, err)
		}
	}
}

func TestDangerousNamesAreRefused(t *testing.T) {
	tests := map[string]struct{ name, says string }{
		"empty":                {"", "empty"},
		"too long":             {strings.Repeat("a", MaxNameLen+1), "longer than 127"},
		"this directory":       {".", "path"},
		"parent directory":     {"..", "path"},
		"slash":                {"a/b", "slash"},
		"backslash":            {`a\b`, "slash"},
		"NUL":                  {"a\x00", "U+0000"},
		"line end":             {"a\nb", "U+000A"},
		"delete":               {"a\x7f", "U+007F"},
		"C1 control":           {"a\u0085b", "U+0085"},
		"right-to-left":        {"a\u202eb", "U+202E"},
		"left-to-right mark":   {"\u200edefault", "U+200E"},
		"isolate":              {"a\u2066b", "U+2066"},
		"zero width space":     {"default\u200b", "U+200B"},
		"zero width joiner":    {"a\u200db", "U+200D"},
		"byte order mark":      {"\ufeffdefault", "U+FEFF"},
		"soft hyphen":          {"de\u00adfault", "U+00AD"},
		"no-break space":       {"a\u00a0b", "U+00A0"},
		"line separator":       {"a\u2028b", "U+2028"},
		"variation selector":   {"a\ufe0f", "U+FE0F"},
		"grapheme joiner":      {"a\u034fb", "U+034F"},
		"Hangul filler":        {"a\u3164", "U+3164"},
		"braille blank":        {"a\u2800", "U+2800"},
		"tag character":        {"a\U000e0041", "U+E0041"},
		"private use":          {"a\ue000", "U+E000"},
		"mark at the front":    {"\u0301a", "joins"},
		"leading space":        {" a", "space"},
		"trailing space":       {"a ", "space"},
		"only a space":         {" ", "space"},
		"master":               {"_master", "reserved"},
		"master in other case": {"_MASter", "reserved"},
		"master with long s":   {"_ma\u017fter", "reserved"},
		"not UTF-8":            {"a\xff", "UTF-8"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := ValidateName(test.name)
			if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("ValidateName(%q) = %v, want %q", test.name, err, test.says)
			}
			if problem.NextOf(err) == "" {
				t.Error("the rule is not said")
			}
		})
	}
}

func TestValuesThatClientsCanPresentAreAccepted(t *testing.T) {
	for _, value := range []string{"x", "a b", "p+/=", "схема", strings.Repeat("v", MaxValueLen)} {
		if err := ValidateValue(value); err != nil {
			t.Errorf("ValidateValue(%q): %v", value, err)
		}
	}
}

func TestUnusableValuesAreRefused(t *testing.T) {
	for name, value := range map[string]string{
		"empty":          "",
		"too long":       "topsecret" + strings.Repeat("v", MaxValueLen),
		"line end":       "topsecret\n",
		"NUL":            "top\x00secret",
		"C1 control":     "topsecret\u0085",
		"leading space":  " topsecret",
		"trailing space": "topsecret ",
		"other space":    "topsecret\u00a0",
		"not UTF-8":      "topsecret\xff",
	} {
		err := ValidateValue(value)
		if !errors.Is(err, problem.Invalid) || problem.NextOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error()+problem.NextOf(err), "secret") {
			t.Errorf("%s: the message repeats the value", name)
		}
	}
}

func FuzzValidateName(f *testing.F) {
	f.Add("default")
	f.Add("_MASTER")
	f.Add("a\u202eb")
	f.Fuzz(func(t *testing.T, name string) {
		if ValidateName(name) != nil {
			return
		}
		if name == "" || name != strings.TrimSpace(name) || strings.ContainsAny(name, "/\\\x00\r\n") || IsMasterName(name) {
			t.Errorf("%q is accepted", name)
		}
	})
}
