"""Any world and any demonstrations: settings that suit nobody badly."""
