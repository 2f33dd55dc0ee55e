package platform

import (
	"net"
	"testing"
)

type fixedAddr struct {
	net.Listener
	addr net.TCPAddr
}

func (f fixedAddr) Addr() net.Addr { return &f.addr }

func listening(ip string, domain string) *Node {
	return &Node{
		names:      names{domain: domain, functions: 7071, management: 7443},
		cfg:        Config{Management: net.JoinHostPort(ip, "7443")},
		management: fixedAddr{addr: net.TCPAddr{IP: net.ParseIP(ip), Port: 7443}},
	}
}

// Whatever the installation takes for its own name makes tokens for that name
// good for the management API.
func TestWhichNamesAreTheInstallations(t *testing.T) {
	local, open, domain := listening("127.0.0.1", "localhost"), listening("0.0.0.0", "localhost"), listening("127.0.0.1", "apps.example.org")
	for _, tt := range []struct {
		name string
		node *Node
		host string
		want bool
	}{
		{"the domain", local, "localhost:7443", true},
		{"in capitals", local, "LOCALHOST:7443", true},
		{"an address", local, "127.0.0.1:7443", true},
		{"of IPv6", local, "[::1]:7443", true},
		{"another program of the machine", local, "localhost:9999", false},
		{"by address", local, "127.0.0.1:9999", false},
		{"and at the usual port", local, "localhost", false},
		{"an app", local, "orders.localhost:7443", false},
		{"an app's deployment endpoint", local, "orders.scm.localhost:7443", false},
		{"what is called like a vault", local, "kv.vault.localhost:7443", false},
		{"another host", local, "example.com:7443", false},
		{"nothing", local, "", false},
		{"a mapped port of a container", open, "localhost:17443", true},
		{"but not of another host", open, "kv.vault.localhost:17443", false},
		{"the domain behind a proxy of this machine", domain, "apps.example.org", true},
		{"localhost is not the domain", domain, "localhost:7443", false},
		{"below the domain", domain, "x.apps.example.org", false},
	} {
		if got := tt.node.allowHost(tt.host); got != tt.want {
			t.Errorf("%s: %q: got %v", tt.name, tt.host, got)
		}
	}
}

// Clients ask tokens for what the vault's host tells them; whoever gets such a token
// must not be able to use it here if the vault was another program's.
func TestTokensForVaultsOfOtherProgramsOpenNoneHere(t *testing.T) {
	local, open, domain := listening("127.0.0.1", "localhost"), listening("0.0.0.0", "localhost"), listening("127.0.0.1", "apps.example.org")
	for _, tt := range []struct {
		name string
		node *Node
		host string
		want string
	}{
		{"its own", local, "kv.vault.localhost:7443", "https://vault.localhost:7443"},
		{"in capitals, with a dot", local, "KV.Vault.Localhost.:7443", "https://Vault.Localhost.:7443"},
		{"another program of the machine", local, "kv.vault.localhost:9999", ""},
		{"in capitals", local, "KV.VAULT.LOCALHOST:9999", ""},
		{"with a dot", local, "kv.vault.localhost.:9999", ""},
		{"in brackets", local, "[kv.vault.localhost]:9999", ""},
		{"at the usual port", local, "kv.vault.localhost", ""},
		{"at no port", local, "kv.vault.localhost:x", ""},
		{"a mapped port of a container", open, "kv.vault.localhost:17443", "https://vault.localhost:17443"},
		{"the domain behind a proxy of this machine", domain, "kv.vault.apps.example.org", "https://vault.apps.example.org"},
	} {
		if got := tt.node.toldVaultAudience(tt.host, "https://"+afterLabels(tt.host, 1)); got != tt.want {
			t.Errorf("%s: %q: got %q", tt.name, tt.host, got)
		}
	}
}
