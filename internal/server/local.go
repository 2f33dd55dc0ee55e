package server

import "strconv"

// DataDirName is the folder beside an app that holds its keys unless --data-dir
// says otherwise.
const DataDirName = dataDirName

// LocalURL gives the URL at which a start with this Config would serve the app
// to people on this machine; the app need not run. A port that only a start can
// pick is shown as the default one.
func LocalURL(cfg Config) string {
	return "http://localhost:" + strconv.Itoa(localPort(cfg))
}

// localPort gives the port a start would listen on, as openSettings chooses it.
func localPort(cfg Config) int {
	_, local, _, _ := readSettings(cfg.Dir, cfg.Environ)
	switch {
	case cfg.Port > 0:
		return cfg.Port
	case local != nil && local.Port > 0:
		return local.Port
	}
	return DefaultPort
}

// localHost gives the address a start would listen on.
func localHost(cfg Config) string {
	_, local, _, _ := readSettings(cfg.Dir, cfg.Environ)
	switch {
	case cfg.Host != "":
		return cfg.Host
	case local != nil && local.Address != "":
		return local.Address
	}
	return "127.0.0.1"
}
