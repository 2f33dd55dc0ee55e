package signin

import "testing"

func TestANetworkOfIPv6CountsAsOneAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7", "192.0.2.7": "192.0.2.7", "": "", "pipe": "pipe",
		"[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::/64", "[2001:db8:1:2:ffff::1]:99": "2001:db8:1:2::/64", "[2001:db8:1:3::1]:99": "2001:db8:1:3::/64",
		"[fe80::1%eth0]:9": "fe80::/64", "[::ffff:192.0.2.7]:9": "::ffff:192.0.2.7",
	} {
		if got := source(remote); got != want {
			t.Errorf("%q counts as %q, want %q", remote, got, want)
		}
	}
}
