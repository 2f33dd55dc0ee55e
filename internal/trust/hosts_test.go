package trust

import (
	"bytes"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestBlocksAreRenewedWhereTheyAre(t *testing.T) {
	before := "127.0.0.1 localhost\n"
	block := func(id, lines string) string { return markBegin + id + markNote + "\n" + lines + markEnd + id + "\n" }
	shop, mail := "127.0.0.1 shop.localhost shop.scm.localhost\n", "127.0.0.1 mail.localhost mail.scm.localhost\n"
	tests := []struct{ name, text, want string }{
		{"none yet", before, before + block("a", shop)},
		{"empty file", "", block("a", shop)},
		{"last line without end", "127.0.0.1 localhost", before + block("a", shop)},
		{"renewed", before + block("a", mail) + "10.0.0.1 db\n", before + block("a", shop) + "10.0.0.1 db\n"},
		{"edited by hand", before + block("a", "junk\n\n# note\n"), before + block("a", shop)},
		{"beside another's", block("b", mail) + before, block("b", mail) + before + block("a", shop)},
		{"the file ends with the mark", strings.TrimSuffix(block("a", mail), "\n"), block("a", shop)},
		{"odd lines stay", "\r\n\x00\xff no entry\r\n::1\n", "\r\n\x00\xff no entry\r\n::1\n" + block("a", shop)},
	}
	for _, tt := range tests {
		got, err := WithBlock([]byte(tt.text), "a", entries(t, "shop"))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%q\nwant\n%q", tt.name, err, got, tt.want)
		}
		again, err := WithBlock(got, "a", entries(t, "shop"))
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s: doing it again changes it: %v\n%q", tt.name, err, again)
		}
	}
}

func TestDamagedMarksAreRefusedWithTheLine(t *testing.T) {
	for name, text := range map[string]string{
		"no end":       "x\n" + markBegin + "a\n1.2.3.4 shop\n",
		"no begin":     "x\n" + markEnd + "a\n",
		"twice":        markBegin + "a\n" + markEnd + "a\n" + markBegin + "a\n" + markEnd + "a\n",
		"nested":       markBegin + "a\n" + markBegin + "b\n" + markEnd + "b\n" + markEnd + "a\n",
		"other's end":  markBegin + "a\n" + markEnd + "b\n",
		"ends swapped": markEnd + "a\n" + markBegin + "a\n",
	} {
		for _, e := range [][]Entry{entries(t, "shop"), nil} {
			got, err := WithBlock([]byte(text), "a", e)
			if !errors.Is(err, problem.Invalid) || got != nil || !strings.Contains(err.Error(), "at line ") || problem.NextOf(err) == "" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
}

func TestNamesOfAppsBringNothingAlong(t *testing.T) {
	address := netip.MustParseAddr("127.0.0.1")
	for _, app := range []string{
		"", "-a", "a-", "a b", "a\n10.0.0.1 bank.example", "a.b", "a#", "a\tb", "caf\u00e9", strings.Repeat("a", 64), "a\x00", "a_b", "*",
	} {
		if e, err := AppEntries(address, "localhost", []string{"good", app}); !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v, %v", app, e, err)
		}
	}
	for _, domain := range []string{"", "local host", "localhost\n1.2.3.4 x", ".localhost", "localhost.", "LOCAL"} {
		if e, err := AppEntries(address, domain, []string{"shop"}); !errors.Is(err, problem.Invalid) {
			t.Errorf("domain %q: %v, %v", domain, e, err)
		}
	}
	for _, bad := range []netip.Addr{{}, netip.MustParseAddr("fe80::1%eth0\n")} {
		if _, err := AppEntries(bad, "localhost", []string{"shop"}); !errors.Is(err, problem.Invalid) {
			t.Errorf("address %v: %v", bad, err)
		}
	}
}

// FuzzWithBlock checks that whatever a file holds, what is outside of the block
// stays, and removing the block undoes making it.
func FuzzWithBlock(f *testing.F) {
	f.Add([]byte(hostsBefore), "shop")
	f.Add([]byte(markBegin+"a\n"+markEnd+"a\n"), "shop")
	f.Add([]byte("no end"), "x")
	f.Fuzz(func(t *testing.T, text []byte, app string) {
		e, err := AppEntries(netip.MustParseAddr("::1"), "localhost", []string{app})
		if err != nil {
			return
		}
		made, err := WithBlock(text, "new", e)
		if err != nil {
			return
		}
		blocks, err := Blocks(made)
		if err != nil {
			t.Fatalf("%q: the result cannot be read: %v", text, err)
		}
		if last := blocks[len(blocks)-1]; last.ID != "new" && !bytes.Contains(text, []byte(markBegin+"new")) {
			t.Fatalf("%q: the block is not at the end", text)
		}
		undone, err := WithBlock(made, "new", nil)
		if err != nil {
			t.Fatal(err)
		}
		without, err := WithBlock(text, "new", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(without) > 0 && without[len(without)-1] != '\n' && bytes.Equal(undone, append(without[:len(without):len(without)], '\n')) {
			return // the last line got its end
		}
		if !bytes.Equal(undone, without) {
			t.Fatalf("%q became %q", without, undone)
		}
	})
}

func TestAssignmentsSurviveTheShell(t *testing.T) {
	values := []string{"plain", "a b", "it's", `back\slash\`, "$HOME `id` $(id) \"x\" !! ; & | *", "", "\u2019", "%PATH%", "-n"}
	for _, value := range values {
		v := Variable{"LATCHKEY_TEST", value}
		line, err := v.Assignment("bash")
		must(t, err)
		for _, shell := range []string{"sh", "bash", "fish"} {
			if _, err := exec.LookPath(shell); err != nil {
				continue
			}
			if shell == "fish" {
				line, err = v.Assignment("fish")
				must(t, err)
			}
			out, err := exec.CommandContext(t.Context(), shell, "-c", line+"\nprintenv LATCHKEY_TEST").Output()
			if err != nil || string(out) != value+"\n" {
				t.Errorf("%s: %s gave %q, %v", shell, line, out, err)
			}
		}
	}
	if line, _ := (Variable{"A", "it's \u2019"}).Assignment("powershell"); line != "$env:A = 'it''s \u2019\u2019'" {
		t.Errorf("powershell: %s", line)
	}
	if line, _ := (Variable{"A", `it's \`}).Assignment("fish"); line != `set -gx A 'it\'s \\'` {
		t.Errorf("fish: %s", line)
	}
	if _, err := (Variable{"A", "a\nb"}).Assignment("bash"); !errors.Is(err, problem.Invalid) {
		t.Errorf("two lines: %v", err)
	}
	if _, err := (Variable{"A", "a"}).Assignment("tcsh"); !errors.Is(err, problem.Unsupported) {
		t.Errorf("tcsh: %v", err)
	}
}

func TestVariablesHaveTheSecretOnlyIfItIsGiven(t *testing.T) {
	i := Installation{CAFile: "/d/ca.pem", BundleFile: "/d/ca-bundle.pem", Endpoint: "https://localhost:7443", TenantID: "t", SubscriptionID: "s"}
	got := map[string]string{}
	for _, v := range i.Variables() {
		got[v.Name] = v.Value
	}
	if got["ARM_METADATA_HOSTNAME"] != "localhost:7443" || got["SSL_CERT_FILE"] != "/d/ca-bundle.pem" || got["NODE_EXTRA_CA_CERTS"] != "/d/ca.pem" || len(got) != 11 {
		t.Errorf("variables %v", got)
	}
	for name := range got {
		if strings.Contains(name, "CLIENT") {
			t.Errorf("%s is among them", name)
		}
	}
	i.ClientID, i.ClientSecret = "c", "x"
	if n := len(i.Variables()); n != 15 {
		t.Errorf("%d variables with credentials", n)
	}
}
